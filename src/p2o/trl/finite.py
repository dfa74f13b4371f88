"""Steps whose loss or gradient is not a finite number are skipped; three in a row stop the run. Pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

PATIENCE = 3
"""This many steps in a row that are not finite stop the run."""


@dataclass
class FiniteGuard:
    """Watches the loss and the gradient of every optimizer step.

    A ratio that is not finite reaches the loss (see `distillation.distill`), and so ends up here too.
    """

    loss_is_finite: bool = True
    skipped: int = 0
    """Steps skipped since the start of the run."""
    in_a_row: int = 0

    def see_loss(self, loss: torch.Tensor) -> None:
        """Notes one micro-batch's loss."""
        self.loss_is_finite &= bool(torch.isfinite(loss).all())

    def step_is_finite(self, norm: object, scaled: bool) -> bool:
        """Whether this rank's step may be made.

        Args:
            norm: the gradient's.
            scaled: fp16's loss scaler looks for infinite gradients, skips them itself, and expects to find some.
        """
        return self.loss_is_finite and (scaled or bool(torch.isfinite(torch.as_tensor(norm)).all()))

    def decide(self, finite: bool) -> str | None:
        """Counts a step.

        Args:
            finite: whether it is finite on all ranks.

        Returns:
            Why the run must stop, if it must.
        """
        self.loss_is_finite = True
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self.skipped += not finite
        if self.in_a_row < PATIENCE:
            return None
        return (
            f"loss or gradient was not a finite number in {PATIENCE} steps in a row ({self.skipped} in all), which "
            "were skipped; lower learning_rate, or use bf16 or fp32 instead of fp16"
        )
