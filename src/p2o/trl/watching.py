"""Watches a run for a person: the terminal or the notebook, and the file with all figures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK, PrinterCallback
from transformers.utils import is_in_notebook

from ..base.rows import METRICS_FILE, append_row, write_rows
from ..core.cost import CostMeter
from ..core.diagnosis import Finding, diagnose, facts_after
from ..core.progress import all_figures, epoch_rows, evaluation_line, step_cells
from ..core.rollout_log import RolloutLog
from ..core.shown import ShownSample, choose_sample, failed_bare
from ..core.summary import EpochSummary
from .display import EpochNews, EvolutionBar, TerminalView
from .notebook import NotebookView

BARE = "_bare_success"

# TRL reads the old name at every step; nobody but TRL can change that.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)


def replace_progress(trainer: Any, watch: TrainerCallback) -> None:
    """Puts our callback in the place of the one that HF's trainer adds to print the log as dictionaries."""
    trainer.remove_callback(PrinterCallback if trainer.args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
    trainer.add_callback(watch)


class Watch(TrainerCallback):
    """Shows a run and writes every row of its log to ``p2o/metrics.jsonl``; on the main process only.

    Args:
        folder: of the run's own files.
        redrawn: whether a terminal's last lines may be redrawn.
        verbose: whether all figures of each row are shown.
    """

    def __init__(self, folder: Path, redrawn: bool, verbose: bool) -> None:
        self.file = folder / METRICS_FILE
        self.view: TerminalView | NotebookView = NotebookView() if is_in_notebook() else TerminalView(redrawn)
        self.verbose = verbose
        self.recipe: Sequence[str] | None = None
        """The words behind ``p2o train`` that make this run; None: it is made from Python."""
        self.settings: dict[str, Any] = {}
        """Settings of the recipe that the trainer does not know."""
        self.summaries: list[EpochSummary] = []
        self.findings: list[Finding] = []
        """Of the newest epoch."""
        self.samples: list[ShownSample] = []
        """The ones that were shown, one an epoch."""
        self._told: set[str] = set()
        self._shown: set[str] = set()
        """Templates that were shown in full."""
        self._failed: dict[str, str] = {}
        self._first: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._begun: tuple[float, int] | None = None

    # --- events of HF's trainer ------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        self._begun = time.perf_counter(), state.global_step
        # A resumed run goes back to its checkpoint: rows of later steps are written again.
        write_rows(self.file, state.log_history)
        evaluations = [row for row in state.log_history if f"eval{BARE}" in row]
        self._first, self._last = (evaluations or [{}])[0], (evaluations or [{}])[-1]
        self.view.begin(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._begun is None or not state.is_world_process_zero:
            return
        row = state.log_history[-1]
        append_row(self.file, row)
        if "loss" in row:
            self.view.step(state.global_step, step_cells(row, state.max_steps, self._left(state)))
        for prefix in [name.removesuffix(BARE) for name in row if name.startswith("eval") and name.endswith(BARE)]:
            self._evaluated(args, state, row, prefix)
        if self.verbose:
            self.view.line(all_figures(row))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.view.at_step(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.view.end()

    # --- what the trainer tells ------------------------------------------------------------------------------

    def evolution(self, epoch: int) -> EvolutionBar:
        """The progress of the evolution before an epoch (from 1)."""
        return self.view.evolution(f"evolution before epoch {epoch}")

    def epoch(
        self, summary: EpochSummary, args: Any, log: Sequence[Mapping[str, Any]], rollouts: RolloutLog, cost: CostMeter
    ) -> ShownSample | None:
        """Shows an epoch (main process only).

        Args:
            args: the trainer's settings.
            log: the rows of the run's log.
            rollouts: the epoch's.
            cost: the run's so far.

        Returns:
            The sample that was shown in full.
        """
        self.summaries.append(summary)
        own = [row for row in log if summary.epoch < row.get("epoch", 0) <= summary.epoch + 1]
        facts = facts_after(
            self.summaries,
            {**vars(args), **self.settings},
            masked=_mean([row["p2o/ratio_below"] + row["p2o/ratio_above"] for row in own if "p2o/ratio_below" in row]),
            clipped=_mean([row[name] for row in own if (name := "completions/clipped_ratio") in row]),
        )
        self.findings = diagnose(facts)
        sample = choose_sample(rollouts, self._failed, {shown.id for shown in self.samples})
        self.samples += [sample] if sample else []
        self._failed |= failed_bare(rollouts)
        seconds = time.perf_counter() - (self._begun[0] if self._begun else time.perf_counter())
        self.view.epoch(
            EpochNews(
                summary.epoch + 1,
                args.num_train_epochs,
                epoch_rows(summary, self._last, self._first, cost, seconds),
                summary.notes,
                [finding for finding in self.findings if finding.case not in self._told],
                sample.rows(self._shown) if sample else (),
                self.recipe,
            )
        )
        self._shown |= {summary.best_template, (sample and sample.template) or ""}
        self._told |= {finding.case for finding in self.findings}
        return sample

    def _evaluated(self, args: Any, state: Any, row: Mapping[str, Any], prefix: str) -> None:
        """An evaluation at an epoch's end is in the epoch's summary; of another one, a line is shown."""
        if prefix == "eval":
            self._last = dict(row)
            self._first = self._first or self._last
        if state.global_step == 0 or args.eval_strategy != "epoch" or prefix != "eval":
            part = prefix.removeprefix("eval").strip("_")
            data = f"evaluation data {part}".strip()
            self.view.line(f"step {state.global_step}: {data}, bare {evaluation_line(row, prefix)}")

    def _left(self, state: Any) -> float | None:
        assert self._begun is not None
        at, step = self._begun
        done = state.global_step - step
        return (time.perf_counter() - at) / done * (state.max_steps - state.global_step) if done else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
