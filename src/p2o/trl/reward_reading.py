"""Reads the rewards of one rollout: whether it is solved, and the sum on which GRPO trains. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.hard import is_solved
from ..errors import ConfigError


@dataclass(frozen=True)
class RewardReading:
    """Reads the F rewards of a rollout, one of each reward function.

    Args:
        success_index: index of the reward that says what *solved* means.
        threshold: a rollout is solved when that reward is at least this.
        weights: (F,) weights of the sum.
    """

    success_index: int
    threshold: float
    weights: Sequence[float]

    def success(self, rewards_F: Sequence[float]) -> float:
        """The reward that says what *solved* means."""
        return rewards_F[self.success_index]

    def is_solved(self, rewards_F: Sequence[float]) -> bool:
        """Whether that reward reached the threshold; NaN did not."""
        return is_solved(self.success(rewards_F), self.threshold)

    def total(self, rewards_F: Sequence[float]) -> float:
        """TRL's weighted sum, without the rewards that are NaN."""
        return sum(w * r for w, r in zip(self.weights, rewards_F, strict=True) if not math.isnan(r))


def success_index(name: str | None, functions: Sequence[str]) -> int:
    """The index of the reward function ``success_reward``; 0 (the first) by default.

    Raises:
        ConfigError: no reward function has that name.
    """
    if name is None:
        return 0
    if name not in functions:
        raise ConfigError(f"success_reward is {name!r}, but the reward functions are {', '.join(functions)}")
    return functions.index(name)
