"""What a run tells a person while it trains, and writes to the file with all figures. No engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from ..base.rows import METRICS_FILE, append_row, write_rows
from .cost import CostMeter
from .diagnosis import Finding, RunBy, diagnose
from .display import EpochNews
from .facts import facts_after
from .progress import all_figures, epoch_rows, evaluation_line, step_cells
from .rollout_log import RolloutLog
from .shown import ShownSample, choose_sample, failed_bare
from .summary import EpochSummary

BARE = "_bare_success"


class View(Protocol):
    """Shows a run: at the terminal (`p2o.core.display.TerminalView`), or in a notebook."""

    def begin(self, step: int, steps: int) -> None:
        """Training begins, at a step, of so many."""

    def step(self, number: int, cells: Sequence[str]) -> None:
        """Shows a row of the log."""

    def at_step(self, number: int) -> None:
        """Moves the bar to a step."""

    def line(self, text: str) -> None:
        """Shows a line that stays."""

    def evolution(self, label: str) -> Any:
        """The progress of an evolution that begins."""

    def epoch(self, news: EpochNews) -> None:
        """Shows the summary of an epoch."""

    def end(self) -> None:
        """Training has ended: nothing is redrawn any more."""


class RunWatch:
    """Shows a run and writes every row of its log to ``p2o/metrics.jsonl``; on the main process only.

    Args:
        folder: of the run's own files.
        view: where it is shown.
        verbose: whether all figures of each row are shown.
    """

    def __init__(self, folder: Path, view: View, verbose: bool) -> None:
        self.file = folder / METRICS_FILE
        self.view = view
        self.verbose = verbose
        self.run_by: RunBy = None
        """What makes the run, for the findings' commands."""
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

    @property
    def has_begun(self) -> bool:
        """Whether training has begun."""
        return self._begun is not None

    def begin(self, step: int, steps: int, log: Sequence[Mapping[str, Any]]) -> None:
        """Training begins.

        Args:
            step: at which step; above 0 for a run that is resumed.
            steps: of the whole run.
            log: the rows up to there.
        """
        self._begun = time.perf_counter(), step
        # A resumed run goes back to its checkpoint: rows of later steps are written again.
        write_rows(self.file, log)
        evaluations = [row for row in log if f"eval{BARE}" in row]
        self._first, self._last = dict((evaluations or [{}])[0]), dict((evaluations or [{}])[-1])
        self.view.begin(step, steps)

    def row(self, row: Mapping[str, Any], step: int, steps: int, epoch_ends: bool) -> None:
        """Writes a row of the log, and shows it.

        Args:
            step: the run's.
            steps: of the whole run.
            epoch_ends: whether an epoch ends here, so that its summary shows an evaluation.
        """
        append_row(self.file, row)
        if "loss" in row:
            self.view.step(step, step_cells(row, steps, self._left(step, steps)))
        for prefix in [name.removesuffix(BARE) for name in row if name.startswith("eval") and name.endswith(BARE)]:
            self._evaluated(row, prefix, step, epoch_ends)
        if self.verbose:
            self.view.line(all_figures(row))

    def evolution(self, epoch: int) -> Any:
        """The progress of the evolution before an epoch (from 1)."""
        return self.view.evolution(f"evolution before epoch {epoch}")

    def epoch(
        self,
        summary: EpochSummary,
        epochs: float,
        settings: Mapping[str, Any],
        log: Sequence[Mapping[str, Any]],
        rollouts: RolloutLog,
        cost: CostMeter,
    ) -> ShownSample | None:
        """Shows an epoch (main process only).

        Args:
            epochs: of the whole run.
            settings: the run's, by their keys.
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
            settings,
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
                epochs,
                epoch_rows(summary, self._last, self._first, cost, seconds),
                summary.notes,
                [finding for finding in self.findings if finding.case not in self._told],
                sample.rows(self._shown) if sample else (),
                self.run_by,
            )
        )
        self._shown |= {summary.best_template, (sample and sample.template) or ""}
        self._told |= {finding.case for finding in self.findings}
        return sample

    def _evaluated(self, row: Mapping[str, Any], prefix: str, step: int, epoch_ends: bool) -> None:
        """An evaluation at an epoch's end is in the epoch's summary; of another one, a line is shown."""
        if prefix == "eval":
            self._last = dict(row)
            self._first = self._first or self._last
        if step == 0 or not epoch_ends or prefix != "eval":
            part = prefix.removeprefix("eval").strip("_")
            data = f"evaluation data {part}".strip()
            self.view.line(f"step {step}: {data}, bare {evaluation_line(row, prefix)}")

    def _left(self, step: int, steps: int) -> float | None:
        assert self._begun is not None
        at, first = self._begun
        done = step - first
        return (time.perf_counter() - at) / done * (steps - step) if done else None


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
