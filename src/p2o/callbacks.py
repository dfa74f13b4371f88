"""The hooks of HF's training loop that the joint loop needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from .console import print_epoch, print_flat
from .store import write_json

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
        self.trainer._step = state.global_step * args.gradient_accumulation_steps

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = int((state.epoch or 0.0) + 1e-6)
        summary = self.trainer.begin_epoch(epoch)
        if summary is not None:
            self._report(summary)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.max_cost is not None and self.trainer.global_cost().training_cost >= args.max_cost:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        if trainer.loop.ledger.tallies:
            self._report(trainer.loop.close())
        cost = trainer.global_cost()
        if state.is_world_process_zero:
            write_json(trainer.loop.run_dir / "cost.json", cost.state_dict())
            write_json(trainer.loop.run_dir / "metrics.json", {"log": state.log_history})

    def _report(self, summary: Any) -> None:
        trainer = self.trainer
        cost = trainer.global_cost()
        trainer.log(
            {
                "p2o/hard": summary.hard,
                "p2o/dead_groups": (summary.all_failed + summary.all_solved) / max(1, summary.groups),
                "p2o/rescued": summary.rescued,
                "p2o/graduated": summary.graduated,
                "p2o/pool": summary.pool,
                "p2o/candidates": summary.candidates,
                "p2o/cost": cost.training_cost,
                **({"p2o/best_dev_score": summary.best_dev_score} if summary.best_dev_score is not None else {}),
            }
        )
        if trainer.accelerator.is_main_process:
            held_out = trainer.last_evaluation.get("eval_bare_success")
            print_epoch(summary, held_out, cost, time.perf_counter() - self.started)
            print_flat(summary, trainer.loop.run_dir)
