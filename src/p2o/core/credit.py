"""Hook *credit* of a method: how rollouts drawn under a scaffold are trained. Imports torch only when used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from .kl_term import KlTerm

if TYPE_CHECKING:
    import torch

    Weights = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(bare_logps_BT, templated_logps_BT, templated_B, solved_B) → (B, T) weight of each token's loss; bare rows: 1."""
    FlatAdvantages = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(entropies_BT, tokens_BT, solved_B) of rows whose group is all solved or all failed → (B, T) their advantages."""

Distillation = Literal["mask", "solved", "wide_first", "soft", "shape", "kl", "no_mask", "importance", "none"]
"""How a templated rollout is trained on the bare prompt, with r = π_old(y_t | x) / π_old(y_t | T(x, z)):

``mask``        loss 0 where r is outside [low, high] (the paper)
``solved``      the mask, but a solved rollout keeps its tokens with r < low
``wide_first``  the mask without the lower bound for the first ``wide_epochs`` epochs with templates, then the paper's
``soft``        weight min(clamp(r, low, high) / r, soft_max)
``shape``       weight γp / (p + γ)², p = π_old(y_t | x) (LUFFY)
``kl``          the mask, and on solved rollouts KL(π(· | T(x, z)) ‖ π(· | x)) as one more term of the loss
``no_mask``     weight 1
``importance``  old log-probs on T(x, z), new ones on x; only PPO's clip limits their ratio
``none``        gradient on T(x, z)
"""

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
    kl: KlTerm | None = None
    flat: FlatAdvantages | None = None
    """Advantages of groups without spread, whose own are 0, from their tokens' entropies. TRL only."""

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
    shape_gamma: float
    wide_epochs: int
    kl_weight: float
    kl_top_k: int
    kl_clip: float
    drop_failed_template_rollout: bool


def credit_of(settings: CreditSettings, epoch: int = 0) -> Credit:
    """P²O's credit, by the setting ``distillation`` (paper, section "context distillation", and its ablations).

    Args:
        epoch: from 0; the first has no templates.
    """
    from .distill import ratio_mask, shaped_weight, solved_mask

    mode, drop_failed = settings.distillation, settings.drop_failed_template_rollout
    low, high = settings.ratio_low, settings.ratio_high

    def masked(low: float) -> Weights:
        return lambda bare, templated, rows, _: ratio_mask(bare, templated, rows, low, high)

    match mode:
        case "mask":
            return Credit(masked(low), drop_failed=drop_failed)
        case "solved":
            return Credit(partial(solved_mask, low=low, high=high), drop_failed=drop_failed)
        case "wide_first":
            return Credit(masked(0.0 if epoch <= settings.wide_epochs else low), drop_failed=drop_failed)
        case "soft":
            soft = partial(ratio_mask, low=low, high=high, soft=True, soft_max=settings.soft_max)
            return Credit(lambda bare, templated, rows, _: soft(bare, templated, rows), drop_failed=drop_failed)
        case "shape":
            gamma = settings.shape_gamma
            return Credit(lambda bare, _, rows, __: shaped_weight(bare, rows, gamma), drop_failed=drop_failed)
        case "kl":
            term = KlTerm(settings.kl_weight, settings.kl_top_k, settings.kl_clip)
            return Credit(masked(low), drop_failed=drop_failed, kl=term)
        case "no_mask":
            return Credit(drop_failed=drop_failed)
        case "importance":
            return Credit(old_logps="templated", drop_failed=drop_failed)
        case "none":
            return Credit(trained_on="templated", old_logps="templated", drop_failed=drop_failed)
