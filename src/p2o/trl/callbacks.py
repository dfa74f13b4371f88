"""The hooks of HF's training loop that the joint loop needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ..base.files import write_json
from ..core.metrics import epoch_metrics
from .display import print_epoch

if TYPE_CHECKING:
    from .trainer import P2OTrainer


class LoopCallback(TrainerCallback):
    """Runs the prompt step when an epoch begins.

    Not when one ends: a checkpoint of an epoch's last step is written before ``on_epoch_end``, and a resumed run
    would not see that event again. This way nothing is evolved after the last epoch either.
    """

    def __init__(self, trainer: P2OTrainer) -> None:
        self.trainer = trainer
        self.started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()
        # TRL counts micro-steps from 0 also when it resumes, and would generate at the wrong ones.
        self.trainer._step, self.trainer._buffered_inputs = self.trainer.resumed_at
        self.trainer.model.train()  # a resumed run may log before its first step
        self._evaluate_if_missed(args, state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = int((state.epoch or 0.0) + 1e-6)
        summary = self.trainer.begin_epoch(epoch)
        if summary is not None:
            self._report(summary)

    def _evaluate_if_missed(self, args: Any, state: Any) -> None:
        """A kill may fall between the checkpoint of an epoch's last step and the evaluation of that epoch."""
        epoch = state.epoch or 0.0
        done = any("eval_bare_success" in row and row["step"] == state.global_step for row in state.log_history)
        between = state.global_step > 0 and abs(epoch - round(epoch)) < 1e-6
        if args.eval_strategy == "epoch" and args.eval_delay <= epoch and between and not done:
            self.trainer.evaluate()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        if self._spent(args):
            control.should_training_stop, control.should_save = True, args.save_strategy != "no"
        trainer.stop.agree(trainer.accelerator)
        if trainer.stop:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False

    def _spent(self, args: Any) -> bool:
        """Whether a budget is used up."""
        if args.max_cost is None and args.max_rollouts is None:
            return False
        cost = self.trainer.global_cost()
        return bool(
            (args.max_cost is not None and cost.training_cost >= args.max_cost)
            or (args.max_rollouts is not None and cost.training_rollouts >= args.max_rollouts)
        )

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.saved_step == state.global_step:
            control.should_save = False
        if self.trainer.stop:
            control.should_evaluate = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        trainer.write_record()
        if trainer.stop:  # the epoch goes on when the run is resumed
            return
        if trainer.loop.ledger.tallies:
            self._report(trainer.loop.close(write=state.is_world_process_zero))
        if state.is_world_process_zero:
            write_json(trainer.loop.run_dir / "metrics.json", {"log": state.log_history})

    def _report(self, summary: Any) -> None:
        trainer = self.trainer
        cost = trainer.global_cost()
        trainer.log(epoch_metrics(summary))
        if trainer.accelerator.is_main_process:
            write_json(trainer.loop.run_dir / "cost.json", cost.state_dict())
        if trainer.accelerator.is_main_process:
            held_out = trainer.last_evaluation.get("eval_bare_success")
            print_epoch(summary, held_out, cost, time.perf_counter() - self.started)
