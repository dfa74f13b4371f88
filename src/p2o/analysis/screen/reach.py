"""What each way of distillation would teach the bare policy, from the log-probs of solved templated rollouts.

A token that is trained is taken to become as likely on the bare prompt as under the template; one that is not stays as
unlikely as it is. Then a rollout y is reached with exp(−Σ lack_t) of its templated probability, summed over the tokens
without gradient, where lack_t = max(0, log π(y_t | T(x, z)) − log π(y_t | x)). `benchmarks/screen_outcome.py` compares
that figure with what training gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...core.credit import Credit, Distillation, credit_of
from ...core.settings import LoopSettings

WAYS: tuple[Distillation, ...] = ("solved", "mask", "soft", "shape", "no_mask")
"""The ways that a screen compares; where several reach as much, the first is recommended."""
LEAST_WEIGHT = 0.01
"""A token whose loss weighs less is not trained, for any run that can be paid."""
AS_GOOD = 0.9
"""A way that reaches this share of the best one's reach is as good."""


@dataclass(frozen=True)
class Reach:
    """What one way of distillation trains of the solved templated rollouts."""

    untrained: float
    """Share of the tokens without gradient."""
    reach: float
    """Mean over the rollouts of exp(−Σ lack_t), from 0 to 1: the share of the templated success that the bare policy
    can take over."""


@dataclass(frozen=True)
class Reaches:
    """The ways of distillation, compared on the same rollouts."""

    rollouts: int
    tokens: int
    ways: dict[str, Reach]

    def recommended(self, own: str) -> str:
        """The way to take: the recipe's own, if it is as good as any."""
        best = max(way.reach for way in self.ways.values())
        good = [name for name, way in self.ways.items() if way.reach >= AS_GOOD * best]
        return own if own in good else good[0]


def reaches(bare: Sequence[Sequence[float]], templated: Sequence[Sequence[float]], settings: LoopSettings) -> Reaches:
    """Compares the ways of distillation.

    Args:
        bare, templated: log-probs of the tokens of solved templated rollouts on x and on T(x, z), a row each.
        settings: the recipe's, with its bounds.
    """
    names = dict.fromkeys([*WAYS, settings.distillation])
    credits = {name: credit_of(replace(settings, distillation=name), epoch=1) for name in names}
    ways: dict[str, Reach] = {name: reach_of(bare, templated, credit) for name, credit in credits.items()}
    return Reaches(len(bare), sum(map(len, bare)), ways)


def reach_of(bare: Sequence[Sequence[float]], templated: Sequence[Sequence[float]], credit: Credit) -> Reach:
    """What one credit trains of these rollouts."""
    if credit.trained_on == "templated":
        return Reach(untrained=1.0, reach=0.0)
    untrained, lacking = 0, []
    for bare_row, templated_row in zip(bare, templated, strict=True):
        bare_T, templated_T = torch.tensor(bare_row), torch.tensor(templated_row)
        weights_T = weights_of(credit, bare_T, templated_T)
        left_T = weights_T < LEAST_WEIGHT
        untrained += int(left_T.sum())
        lacking.append((templated_T - bare_T).clamp(min=0)[left_T].sum())
    return Reach(untrained / max(1, sum(map(len, bare))), float(torch.stack(lacking).neg().exp().mean()))


def weights_of(credit: Credit, bare_T: torch.Tensor, templated_T: torch.Tensor) -> torch.Tensor:
    """(T,) weights of the tokens of one solved templated rollout. The KL term trains all of them."""
    if credit.weights is None or credit.kl is not None:
        return torch.ones_like(bare_T)
    yes = torch.tensor([True])
    return credit.weights(bare_T[None], templated_T[None], yes, yes)[0]
