"""verl's synchronous trainer with P²O's log, texts at the terminal, evaluation and end (`p2o.core.watching`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from verl.trainer.ppo.v1 import PPOTrainerSync

from ..base.files import write_json, write_text
from ..base.rows import read_rows
from ..base.secrets import HIDDEN, is_secret, without_secrets
from ..base.terminal import console
from ..core.cost import CostMeter
from ..core.display import TerminalView
from ..core.loop import JointLoop
from ..core.metrics import cost_metrics, epoch_metrics
from ..core.progress import duration
from ..core.rollout_log import MAX_CHARS, LoggedRollout, RolloutLog
from ..core.summary import EpochSummary
from ..core.turns import transcript
from ..core.watching import RunWatch
from ..runs.run_directory import COMPLETE, Run
from . import NAME
from .batch import BatchRollout
from .evaluation import Evaluation, recorded, result_of
from .liveness import Watchman, check_at_each_poll
from .scored_rollouts import turns_of
from .settings import VerlSettings

FIGURES = {
    "loss": "actor/pg_loss",
    "reward": "critic/score/mean",
    "grad_norm": "actor/grad_norm",
    "learning_rate": "actor/lr",
    "entropy": "actor/entropy",
    "completions/mean_length": "response_length/mean",
    "completions/clipped_ratio": "response_length/clip_ratio",
}
"""Figures of a step by the names that the report and the diagnosis know → verl's names."""

NOT_ON_VERL = ("scale_steps", "pull")
"""Settings that no finding may propose here."""


class WatchedTrainer(PPOTrainerSync):  # type: ignore[misc]
    """What a person sees of a run, and what it leaves behind: ``p2o/metrics.jsonl``, ``p2o/cost.json``,
    ``p2o/rollouts-EEE.json``, ``p2o/result.json``, ``config.yaml`` and ``report.html``."""

    settings: VerlSettings
    run_dir: Path
    loop: JointLoop
    cost: CostMeter

    def prepare_watch(self) -> None:
        """Makes what follows; the loop is there."""
        self.watch = RunWatch(self.loop.run_dir, TerminalView(redrawn=False), verbose=False)
        self.watch.run_by = "verl"
        self.rollout_log = RolloutLog(self.loop.run_dir)
        self.rows: list[dict[str, Any]] = []
        """Of the log, oldest first."""
        self.evaluation: Evaluation | None = None
        self.evaluated_at = -1
        """verl's step of that evaluation."""

    def resume_watch(self) -> None:
        """Goes back to what was known at the step from which the run continues."""
        self.rows = [row for row in read_rows(self.watch.file) if row["step"] <= self.global_steps]
        self.rollout_log.resume(self.loop.next_epoch - 1)

    # --- one step ------------------------------------------------------------------------------------------

    def log_group(self, sample_id: str, group: Sequence[BatchRollout]) -> None:
        """Keeps a group to be read, if the sample needs help or had it."""
        if sample_id not in self.loop.needed and any(rollout.solved for rollout in group):
            return
        sample, decode = self.loop.samples[sample_id], partial(self.tokenizer.decode, skip_special_tokens=True)
        turns = [turns_of(r.responses_T.tolist(), r.mask_T.tolist(), decode) for r in group]
        texts = [transcript(messages, MAX_CHARS) for messages in turns]
        kept = [LoggedRollout(r.template, t, r.reward, r.solved) for r, t in zip(group, texts, strict=True)]
        self.rollout_log.add_group(sample.id, sample.question, sample.answer, kept)

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with self.cost.timed("rollout"):
            return super()._compute_old_log_prob(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with self.cost.timed("train"):
            return super()._update_actor(batch, metrics)

    def on_sample_begin(self) -> None:
        """Starts the clock of the rollouts."""
        super().on_sample_begin()
        self._sampling_since = time.perf_counter()

    def on_sample_end(self) -> None:
        """Stops the clock of the rollouts."""
        self.cost["rollout"].seconds += time.perf_counter() - self._sampling_since
        super().on_sample_end()

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        figures = {name: float(value) for name, value in metrics.items() if isinstance(value, Real)}
        self._log({own: figures[name] for own, name in FIGURES.items() if name in figures} | figures)

    def _log(self, figures: Mapping[str, float]) -> None:
        row = {**figures, "step": self.global_steps, "epoch": self.global_steps / self.steps_per_epoch}
        self.rows.append(row)
        self.watch.row(row, self.global_steps, self.total_training_steps, row["epoch"] % 1 == 0)

    # --- evaluation ----------------------------------------------------------------------------------------

    def _validate(self) -> dict[str, float]:
        settings = self.settings
        with self.cost.timed("evaluate") as spent:
            read = recorded(self.replay_buffer, settings.success_reward, settings.success_threshold)
            with read as evaluation:
                metrics: dict[str, float] = super()._validate()
        if evaluation.rollouts:
            spent.add_rollouts(evaluation.rollouts)
            if not self.rows:
                write_json(self._before, {"metrics": evaluation.metrics, "outcomes": evaluation.outcomes})
            self.evaluation, self.evaluated_at = evaluation, self.global_steps
            self._log(evaluation.metrics)
        return metrics

    @property
    def _before(self) -> Path:
        return self.loop.run_dir / "before.json"

    # --- epochs --------------------------------------------------------------------------------------------

    def tell_epoch(self, summary: EpochSummary) -> None:
        """Logs an epoch that has ended, and shows it."""
        own = {"step": self.rows[-1]["step"] if self.rows else 0, "epoch": summary.epoch + 1}
        self.rows.append({**epoch_metrics(summary), **cost_metrics(self.cost), **own})
        self.watch.row(self.rows[-1], own["step"], self.total_training_steps, epoch_ends=True)
        write_json(self.loop.run_dir / "cost.json", self.cost.state_dict())
        self.rollout_log.write()
        epochs = self.config.trainer.total_epochs
        self.watch.epoch(summary, epochs, self.facts(), self.rows, self.rollout_log, self.cost)
        self.rollout_log.begin(summary.epoch + 1)

    def facts(self) -> dict[str, Any]:
        """The run's settings by the names that the diagnosis knows."""
        own = {name: value for name, value in asdict(self.settings).items() if name not in NOT_ON_VERL}
        return own | {
            "num_train_epochs": self.config.trainer.total_epochs,
            "learning_rate": self.config.actor_rollout_ref.actor.optim.lr,
            "max_completion_length": self.config.data.max_response_length,
        }

    # --- begin and end -------------------------------------------------------------------------------------

    def watch_over(self, rollout_workers: Sequence[Any]) -> None:
        """Lets the run end with a ProcessError when one of verl's processes dies while it waits for rollouts.

        Args:
            rollout_workers: of verl's `AgentLoopManager`.
        """
        watchman = Watchman(
            {
                "rollout worker": rollout_workers,
                "server": [server for replica in self.llm_server_manager.get_replicas() for server in replica.servers],
                "reward worker": self.get_reward_handles() or [],
                "training worker": self.actor_rollout_wg.workers,
            }
        )
        check_at_each_poll(self.replay_buffer, watchman.check)

    def begin_watch(self) -> None:
        """Training begins: writes the configuration, and the rows of the log so far."""
        verls = OmegaConf.to_container(self.config, resolve=True)
        verls.pop(NAME, None)
        config = without_keys({**self.facts(), "verl": verls})
        write_text(self.run_dir / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        for name in (COMPLETE, "result.json"):
            (self.loop.run_dir / name).unlink(missing_ok=True)
        self.begun_at = time.perf_counter()
        self.watch.begin(self.global_steps, self.total_training_steps, self.rows)

    def end_watch(self, last_step: int) -> None:
        """Training has ended: sums up the last epoch, and writes and shows what came out.

        Args:
            last_step: verl's step of the last update.
        """
        from ..analysis.ending import print_report, print_result

        self.global_steps = last_step
        if self.config.trainer.test_freq > 0 and self.evaluated_at < last_step:  # the budget ended the run
            self._init_dump_executor()  # verl has closed its own
            self.logger.log(data=self._validate(), step=last_step)
            self._shutdown_dump_executor()
        if self.loop.ledger.tallies:
            self.tell_epoch(self.loop.close())
        self.watch.view.end()
        seconds = time.perf_counter() - self.begun_at
        write_json(self.loop.run_dir / "cost.json", self.cost.state_dict())
        before = Run(self.run_dir).before
        if before and self.evaluation is not None and 0 < self.evaluated_at == last_step:
            result = result_of(before, self.evaluation, self.cost.state_dict(), seconds)
            write_json(self.loop.run_dir / "result.json", result)
            print_result(result, self.config.actor_rollout_ref.rollout.val_kwargs.temperature)
        console.print(f"took {duration(seconds)}; the model is in {self.run_dir / f'global_step_{last_step}'}")
        print_report(self.run_dir)
        write_json(self.loop.run_dir / COMPLETE, {})


def without_keys(value: Any) -> Any:
    """A configuration without keys and passwords."""
    if isinstance(value, Mapping):
        return {k: HIDDEN if is_secret(str(k)) and v else without_keys(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_keys(entry) for entry in value]
    return without_secrets(value) if isinstance(value, str) else value
