"""Knapsack RL (arXiv 2509.25849): an epoch's rollouts go to the samples where they are worth most.

    value(p, m) = [1 − (p^K + (1 − p)^K)^m] · p (1 − p)²
    choose m_i ≥ 0 with Σ m_i = number of samples, so that Σ value(p_i, m_i) is largest                           hook 1

m is the number of groups of K rollouts that a sample gets in the epoch, p its probability of success. The first factor
is the chance that one of the groups has a spread. The second is the paper's gain: to first order, what a gradient step
adds to p. With m = 1 this is the paper's value of N = K rollouts.

Differences. In the paper a sample's N rollouts are one group of its own size; TRL's groups have one size, so rollouts
are given in whole groups, which are normalised apart. The paper takes p from the last epoch, gives each sample at least
two rollouts and has a rule of its own for p = 0 and p = 1. Here a sample may get none, and

    p_i = (s_i + ½) / (n_i + 1)       s_i, n_i: solved and drawn bare rollouts, halved with each epoch            hook 4

so that a sample that was not drawn becomes uncertain, and is drawn again. The value is concave in m. So giving one
group after the other to the largest gain is exact, and the paper's dynamic program is not needed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from typing import Any

from ..hard import Tally
from .base import EpochEnd, Method

MOST_ROLLOUTS = 128
"""Of one sample in an epoch (the paper's bound)."""
MEMORY = 0.5
"""What an epoch's counts are worth one epoch later."""


class Knapsack(Method):
    """GRPO whose epochs draw samples by the value that is expected of their rollouts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.counts: dict[str, tuple[float, float]] = {}
        """Sample id → (solved, drawn) bare rollouts, older ones weighing less."""

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        if not self.counts:
            return ids
        chances = [chance(*self.counts.get(i, (0.0, 0.0))) for i in ids]
        groups = allocate(chances, self.group_size, len(ids), max(1, MOST_ROLLOUTS // self.group_size))
        drawn = [i for i, times in zip(ids, groups, strict=True) for _ in range(times)]
        random.Random(f"{self.seed}:{epoch}:knapsack").shuffle(drawn)
        return drawn

    def between_epochs(self, end: EpochEnd) -> None:
        """Adds the epoch's bare rollouts to the counts."""
        for sample_id in self.samples:
            solved, drawn = self.counts.get(sample_id, (0.0, 0.0))
            tally = end.tallies.get(sample_id, Tally())
            self.counts[sample_id] = (MEMORY * solved + tally.bare_solved, MEMORY * drawn + tally.bare)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": {i: list(pair) for i, pair in self.counts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts = {i: (float(solved), float(drawn)) for i, (solved, drawn) in state["counts"].items()}


def chance(solved: float, drawn: float) -> float:
    """p, the estimated probability that a bare rollout is solved; never 0 or 1."""
    return (solved + 0.5) / (drawn + 1.0)


def value(p: float, groups: int, group_size: int) -> float:
    """What so many groups of a sample are expected to add."""
    return (1.0 - (p**group_size + (1.0 - p) ** group_size) ** groups) * p * (1.0 - p) ** 2


def allocate(chances: Sequence[float], group_size: int, total: int, most: int) -> list[int]:
    """Groups of each sample, ``total`` together and at most ``most`` each, with the largest sum of values.

    Args:
        chances: p of each sample.
        group_size: K.
    """
    groups = [0] * len(chances)
    gains = [(-value(p, 1, group_size), n) for n, p in enumerate(chances)]
    heapq.heapify(gains)
    for _ in range(total):
        _, n = heapq.heappop(gains)
        groups[n] += 1
        if groups[n] < most:
            gain = value(chances[n], groups[n] + 1, group_size) - value(chances[n], groups[n], group_size)
            heapq.heappush(gains, (-gain, n))
    return groups
