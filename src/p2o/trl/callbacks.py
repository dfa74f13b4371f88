"""The hooks of HF's training loop that the joint loop needs."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import TrainerCallback

from ..base.stopping import StopRequest


class LoopHooks(Protocol):
    """What a trainer does at six points of HF's loop, and its request to stop."""

    stop: StopRequest

    def begin_training(self) -> None:
        """Before the first step."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first step of an epoch (from 0)."""

    def step_is_taken(self) -> None:
        """After an optimizer step, before the learning rate's schedule."""

    def budget_is_spent(self) -> bool:
        """Whether training ends after this step."""

    def checkpoint_is_saved(self) -> bool:
        """Whether this step has a checkpoint already."""

    def end_training(self) -> None:
        """After the last step."""


class LoopCallback(TrainerCallback):
    """Calls the hooks.

    The prompt step runs when an epoch begins, not when one ends. The checkpoint of an epoch's last step is written
    before ``on_epoch_end``, and a run that is resumed from it would not see that event again. For the same reason no
    evolution runs after the last epoch.
    """

    def __init__(self, hooks: LoopHooks) -> None:
        self.hooks = hooks

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.hooks.begin_training()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.hooks.begin_epoch(int((state.epoch or 0.0) + 1e-6))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.hooks.step_is_taken()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.hooks.budget_is_spent():
            control.should_training_stop, control.should_save = True, args.save_strategy != "no"
        if self.hooks.stop:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.hooks.checkpoint_is_saved():
            control.should_save = False
        if self.hooks.stop:
            control.should_evaluate = False

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.hooks.end_training()
