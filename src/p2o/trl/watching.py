"""Watches a run for a person: `p2o.core.watching` on the events of HF's trainer, at the terminal or in the notebook."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK, PrinterCallback
from transformers.utils import is_in_notebook
from trl.trainer import utils

from ..base.terminal import CleanConsole
from ..core.cost import CostMeter
from ..core.display import TerminalView
from ..core.rollout_log import RolloutLog
from ..core.shown import ShownSample
from ..core.summary import EpochSummary
from ..core.watching import RunWatch
from .notebook import NotebookView

utils.Console = CleanConsole  # TRL's table of completions (log_completions) is cleaned like our own output

# TRL reads the old name at every step; nobody but TRL can change that.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
# Said of checkpoints that were written within one second; it takes the order of their steps then.
logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime may not be" not in record.getMessage())


def replace_progress(trainer: Any, watch: TrainerCallback) -> None:
    """Puts our callback in the place of the one that HF's trainer adds to print the log as dictionaries."""
    trainer.remove_callback(PrinterCallback if trainer.args.disable_tqdm else DEFAULT_PROGRESS_CALLBACK)
    trainer.add_callback(watch)


class Watch(RunWatch, TrainerCallback):
    """Shows a run and writes every row of its log; on the main process only.

    Args:
        folder: of the run's own files.
        redrawn: whether a terminal's last lines may be redrawn.
        verbose: whether all figures of each row are shown.
    """

    def __init__(self, folder: Path, redrawn: bool, verbose: bool) -> None:
        super().__init__(folder, NotebookView() if is_in_notebook() else TerminalView(redrawn), verbose)
        self.settings: dict[str, Any] = {}
        """Settings of the recipe that the trainer does not know."""

    # --- events of HF's trainer ------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.begin(state.global_step, state.max_steps, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.has_begun and state.is_world_process_zero:
            self.row(state.log_history[-1], state.global_step, state.max_steps, args.eval_strategy == "epoch")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.view.at_step(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.view.end()

    # --- what the trainer tells ------------------------------------------------------------------------------

    def epoch_of(
        self, summary: EpochSummary, args: Any, log: Sequence[Mapping[str, Any]], rollouts: RolloutLog, cost: CostMeter
    ) -> ShownSample | None:
        """Shows an epoch (main process only), see `RunWatch.epoch`.

        Args:
            args: the trainer's settings.
        """
        return self.epoch(summary, args.num_train_epochs, {**vars(args), **self.settings}, log, rollouts, cost)
