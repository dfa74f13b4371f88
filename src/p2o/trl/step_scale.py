"""``scale_steps``: the length of an optimizer step follows the share of the groups that have a spread of rewards."""

from __future__ import annotations

from typing import Any


class StepScale:
    """Lowers the learning rate for one optimizer step, and restores it after the step.

    It is lowered before the backward pass, because DeepSpeed steps within that.
    """

    def __init__(self) -> None:
        self.full: list[Any] = []
        """The learning rate of each parameter group, while it is lowered."""

    def lower(self, optimizer: Any, share: float) -> None:
        """Multiplies the learning rates by ``share`` (of the step; calls for its micro-batches do not add up)."""
        self.full = self.full or [group["lr"] for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, self.full, strict=True):
            group["lr"] = rate * share

    def restore(self, optimizer: Any) -> None:
        """After the step: before the learning rate's schedule and the checkpoint."""
        for group, rate in zip(optimizer.param_groups, self.full, strict=bool(self.full)):
            group["lr"] = rate
        self.full = []
