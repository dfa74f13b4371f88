"""Steps whose loss or gradient is not a finite number are skipped; when they keep coming, the run stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .trainer import P2OTrainer

PATIENCE = 3
"""So many steps in a row that are not finite stop the run."""


class FiniteGuard:
    """Looks at the loss and the gradient of every optimizer step.

    A ratio that is not finite reaches the loss (see `p2o.trl.distillation.distill`), and so ends up here too.
    """

    def __init__(self, trainer: P2OTrainer) -> None:
        self.trainer = trainer
        self.loss_is_finite = True
        self.skipped = 0
        """Steps skipped since the start of the run."""
        self.in_a_row = 0

    def see_loss(self, loss: torch.Tensor) -> None:
        """Takes note of one micro-batch's loss."""
        self.loss_is_finite &= bool(torch.isfinite(loss).all())

    def see_gradient(self, norm: Any) -> None:
        """Drops the gradient of a step that is not finite; called once a step, before the optimizer (collective)."""
        trainer = self.trainer
        # With fp16 the loss scaler looks for infinite gradients, skips them itself, and expects to find some.
        scaled = trainer.accelerator.scaler is not None
        finite = self.loss_is_finite and (scaled or bool(torch.isfinite(torch.as_tensor(norm)).all()))
        if trainer.accelerator.num_processes > 1:
            flag = torch.tensor(float(not finite), device=trainer.accelerator.device)
            finite = not trainer.accelerator.reduce(flag, reduction="sum").item()
        self.loss_is_finite = True
        self.in_a_row = 0 if finite else self.in_a_row + 1
        self.skipped += not finite
        if self.skipped:
            trainer._metrics["train"]["p2o/skipped_steps"] = [float(self.skipped)]
        if finite:
            return
        if not scaled:  # the optimizer leaves parameters without a gradient alone, weight decay included
            trainer.model.zero_grad(set_to_none=True)
        if self.in_a_row >= PATIENCE:
            trainer.stop.make(
                f"loss or gradient was not a finite number in {PATIENCE} steps in a row ({self.skipped} in all), which "
                "were skipped; lower learning_rate, or use bf16 or fp32 instead of fp16"
            )
