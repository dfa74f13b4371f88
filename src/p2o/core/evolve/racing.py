"""Comparing templates by few draws. Pure.

What a template is worth to GRPO is the chance that a group of K rollouts under it holds a success,

    g(p) = 1 − (1 − p)^K,

because one success gives the group a spread of rewards. From p = 0 to p = 0.05 it rises from 0 to 0.26 (K = 6), from
0.80 to 0.95 by nothing. So a template that never fails and one that seldom fails need not be told apart; one that
seldom succeeds and one that never does need many draws.

What is known of p after n draws with mean m are the bounds of Chernoff, in the form of KL-UCB and KL-LUCB (Garivier and
Cappé 2011, equation 1; Kaufmann and Kalyanakrishnan 2013, section 4):

    upper = max {q ≥ m : n · kl(m, q) ≤ ln(1 / δ)},   lower = min {q ≤ m : n · kl(m, q) ≤ ln(1 / δ)},
    kl(m, q) = m ln(m / q) + (1 − m) ln((1 − m) / (1 − q)).

They hold for values in [0, 1]; after n failures the upper one is 1 − δ^(1/n). A template is let go when its upper bound
is below the lower bound of the best one (Hoeffding races, Maron and Moore 1994, with these bounds). The bounds hold for
each look, not for all looks together: a template that is let go wrongly costs one proposal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ERROR = 0.02
"""δ: the chance that one bound is wrong."""
LEAST_USE = 0.25
"""A template is of use when at least one group in four would hold a success: 5 % success in groups of 6."""
_HALVINGS = 40


@dataclass(frozen=True)
class Draws:
    """What was drawn of one template: ``count`` values in [0, 1] with the sum ``total``."""

    total: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, values: Sequence[float]) -> Draws:
        """From the values."""
        return cls(float(sum(values)), len(values))

    @property
    def mean(self) -> float:
        """Mean value; 0 without a draw."""
        return self.total / max(1, self.count)


def group_chance(p: float, group: int) -> float:
    """g(p): the chance that a group of ``group`` rollouts holds a success, each being one with chance ``p``."""
    return 1 - (1 - p) ** group


def divergence(mean: float, q: float) -> float:
    """kl(mean, q) of two Bernoulli distributions, in nats."""
    terms = ((a, b) for a, b in ((mean, q), (1 - mean, 1 - q)) if a > 0)
    return sum(math.inf if b <= 0 else a * math.log(a / b) for a, b in terms)


def upper_bound(draws: Draws, error: float = ERROR) -> float:
    """The largest chance that the draws allow; 1 without a draw."""
    return _bound(draws, error, 1.0)


def lower_bound(draws: Draws, error: float = ERROR) -> float:
    """The smallest chance that the draws allow; 0 without a draw."""
    return _bound(draws, error, 0.0)


def _bound(draws: Draws, error: float, end: float) -> float:
    """By halving the stretch from the mean to ``end``; the half that is inside is kept on the safe side."""
    if not draws.count:
        return end
    allowed = math.log(1 / error) / draws.count
    mean = min(1.0, max(0.0, draws.mean))
    inside, outside = mean, end
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if divergence(mean, middle) <= allowed:
            inside = middle
        else:
            outside = middle
    return outside


def surely_worse(arms: Mapping[int, Draws], best: Draws, worth: Callable[[float], float]) -> set[int]:
    """The arms whose worth is below that of the best, as far as the bounds tell.

    Args:
        arms: candidate → its draws.
        best: the draws of the best template that is known. An arm may be better still; the best of all counts.
        worth: the worth of a chance, not decreasing (`group_chance`).
    """
    floor = max(worth(lower_bound(draws)) for draws in (best, *arms.values()))
    return {arm for arm, draws in arms.items() if worth(upper_bound(draws)) < floor}


def of_no_use(arms: Mapping[int, Draws], group: int) -> set[int]:
    """The arms whose chance of a success in a group is surely below `LEAST_USE` (in groups of 6: 80
    failures in a row).

    Args:
        arms: candidate → its draws, a success counting 1 and a failure 0.
        group: K.
    """
    return {arm for arm, draws in arms.items() if group_chance(upper_bound(draws), group) < LEAST_USE}


def most_undecided(arms: Mapping[int, Draws], before: Mapping[int, Draws]) -> list[int]:
    """The arms in the order in which they are drawn: the largest upper bound first (optimism, as in KL-UCB).

    Args:
        arms: candidate → its draws where something can be gained.
        before: candidate → all of its draws; the better mean breaks a tie, then the older candidate.
    """
    return sorted(arms, key=lambda arm: (-upper_bound(arms[arm]), -before[arm].mean, arm))
