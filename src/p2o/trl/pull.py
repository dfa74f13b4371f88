"""``pull``: after each optimizer step the weights move a little back to where training began (`p2o.core.retention`)."""

from __future__ import annotations

import torch
from peft import PeftModel

from ..errors import ConfigError


class Pull:
    """Holds a copy of the weights that are trained, as they are when it is made.

    Args:
        model: before any step, and before a checkpoint is loaded into it.
        share: λ, of the way back in each step.
    """

    def __init__(self, model: torch.nn.Module, share: float) -> None:
        self.share = share
        self.start = [(p, p.detach().clone()) for p in model.parameters() if p.requires_grad and share]

    def after_step(self) -> None:
        """θ ← θ − λ (θ − θ_0)."""
        with torch.no_grad():
            for weights, start in self.start:
                weights.lerp_(start.to(weights.device), self.share)


def check_pull(share: float, model: torch.nn.Module, held_elsewhere: bool) -> None:
    """Checks that the weights can be pulled.

    Args:
        held_elsewhere: FSDP or DeepSpeed hold the weights that are trained.

    Raises:
        ConfigError: an adapter is trained, or the weights are sharded, or rounding would eat the pull.
    """
    if not share:
        return
    if share >= 1:
        raise ConfigError(f"pull is {share}, and a step would end where training began; set it below 1 (0.015)")
    if isinstance(model, PeftModel):
        raise ConfigError(
            f"pull is {share}, and an adapter is trained; set pull to 0 (weight_decay pulls an adapter to 0, where it "
            "began)"
        )
    if held_elsewhere:
        raise ConfigError(
            f"pull is {share}, which works on one GPU and with DDP, not with FSDP or DeepSpeed; set it to 0"
        )
    if any(p.dtype != torch.float32 for p in model.parameters() if p.requires_grad):
        raise ConfigError(
            f"pull is {share}, and the weights are not fp32, so that steps of this size would be rounded away; set "
            "dtype: float32, or pull: 0"
        )
