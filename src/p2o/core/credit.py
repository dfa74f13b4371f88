"""Hook *credit* of a method: how rollouts drawn under a scaffold are trained. Imports torch only when used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch

    Weights = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(bare_logps_BT, templated_logps_BT, templated_B) → (B, T) weight of each token's loss, 1 on bare rows."""

Distillation = Literal["mask", "soft", "no_mask", "importance", "none"]
"""``mask``: loss 0 outside [low, high] (the paper). ``soft``: weight clamp(r)/r. ``no_mask``: every token counts.
``importance``: old log-probs on T(x, z), new ones on x; only PPO's clip limits their ratio. ``none``: gradient on
T(x, z)."""

Prompt = Literal["bare", "templated"]


@dataclass(frozen=True)
class Credit:
    """How templated rollouts are trained. By default on the bare prompt, every token with weight 1."""

    weights: Weights | None = None
    """Weight of each token's loss, from the ratio of the two prompts' log-probs; None: 1, and no ratio is computed."""
    old_logps: Prompt = "bare"
    """The prompt of PPO's old log-probs."""
    trained_on: Prompt = "bare"
    """The prompt on which the gradient is computed; ``templated`` means no distillation."""
    drop_failed: bool = False
    """Failed templated rollouts get no gradient."""

    @property
    def needs_ratio(self) -> bool:
        """Whether log-probs on both prompts are needed."""
        return self.weights is not None or self.old_logps != self.trained_on


class CreditSettings(Protocol):
    """The settings from which P²O's credit is made (`p2o.core.settings.LoopSettings`)."""

    distillation: Distillation
    ratio_low: float
    ratio_high: float
    soft_max: float
    drop_failed_template_rollout: bool


def credit_of(settings: CreditSettings) -> Credit:
    """P²O's credit, by the setting ``distillation`` (paper, section "context distillation", and its ablations)."""
    from .distill import ratio_mask

    mode, drop_failed = settings.distillation, settings.drop_failed_template_rollout
    if mode == "none":
        return Credit(trained_on="templated", old_logps="templated", drop_failed=drop_failed)
    if mode == "importance":
        return Credit(old_logps="templated", drop_failed=drop_failed)
    if mode == "no_mask":
        return Credit(drop_failed=drop_failed)
    mask = partial(
        ratio_mask,
        low=settings.ratio_low,
        high=settings.ratio_high,
        soft=mode == "soft",
        soft_max=settings.soft_max,
    )
    return Credit(weights=mask, drop_failed=drop_failed)
