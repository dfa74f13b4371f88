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
        success_indices: indices of the rewards that say what *solved* means: the first of them that is not NaN.
        threshold: a rollout is solved when that reward is at least this.
        weights: (F,) weights of the sum.
    """

    success_indices: Sequence[int]
    threshold: float
    weights: Sequence[float]

    def success(self, rewards_F: Sequence[float]) -> float:
        """The reward that says what *solved* means."""
        found = [rewards_F[n] for n in self.success_indices]
        return next((reward for reward in found if not math.isnan(reward)), math.nan)

    def is_solved(self, rewards_F: Sequence[float]) -> bool:
        """Whether that reward reached the threshold; NaN did not."""
        return is_solved(self.success(rewards_F), self.threshold)

    def total(self, rewards_F: Sequence[float]) -> float:
        """TRL's weighted sum, without the rewards that are NaN."""
        return sum(w * r for w, r in zip(self.weights, rewards_F, strict=True) if not math.isnan(r))


def success_indices(name: str | None, functions: Sequence[str], given: int) -> list[int]:
    """The indices of the reward that says what *solved* means: the reward function ``success_reward``, by default the
    first. If the rewards are those of environments alone, each rollout has that of its own environment.

    Args:
        functions: names of all rewards; those of environments come last.
        given: number of reward functions.

    Raises:
        ConfigError: no reward has that name.
    """
    if name is None:
        return [0] if given else list(range(len(functions)))
    if name not in functions:
        raise ConfigError(f"success_reward is {name!r}, but the reward functions are {', '.join(functions)}")
    return [functions.index(name)]
