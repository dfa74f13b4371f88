"""Steps whose loss or gradient is not a finite number are skipped; three in a row stop the run. Pure decisions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

PATIENCE = 3
"""The run stops after this many skipped steps in a row."""


@dataclass
class FiniteGuard:
    """Watches the loss and the gradient of every optimizer step.

    A ratio that is not finite makes the loss not finite (see `distillation.distill`), so its step is skipped too.
    """

    loss_is_finite: bool = True
    skipped: int = 0
    """Steps skipped since the start of the run."""
    in_a_row: int = 0

    def see_loss(self, loss: torch.Tensor) -> None:
        """Notes one micro-batch's loss."""
        self.loss_is_finite &= bool(torch.isfinite(loss).all())

    def step_is_finite(self, norm: object, scaled: bool) -> bool:
        """Whether this rank's loss and gradient are finite, so that the step may be taken.

        Args:
            norm: the norm of the gradient.
            scaled: fp16's loss scaler is in use. It skips infinite gradients itself, and some are normal.
        """
        return self.loss_is_finite and (scaled or bool(torch.isfinite(torch.as_tensor(norm)).all()))

    def decide(self, finite: bool) -> str | None:
        """Counts a step.

        Args:
            finite: whether loss and gradient are finite on all ranks.

        Returns:
            Why the run must stop; None if it may continue.
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
