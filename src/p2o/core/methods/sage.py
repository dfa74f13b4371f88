"""Hint levels (SAGE, arXiv 2602.03143, its rule "sage-light"): a hint is cut from a sample's solution, more of it where
all rollouts fail, less where enough succeed.

    prompt    x' = (hint of level ℓ: the first ℓ/4 of the solution's steps, x); level 0 is x        hook prompt
    level     ℓ ← min(ℓ + 1, 4)   if the group's accuracy = 0
              ℓ ← max(ℓ - 1, 0)   if the group's accuracy > 0.35                             hook between epochs
    credit    GRPO on x', the prompt that the rollouts were drawn from                              hook credit

Different from the paper: there the policy itself writes the hints of each level from the solution; here they are its
first steps, word for word.
"""

from __future__ import annotations

from ..hard import Tally
from .shown import LEVELS, ShownInPart

ENOUGH = 0.35
"""Accuracy above which a hint is weakened."""


def next_level(level: int, solved: int, rollouts: int) -> int:
    """ℓ in the next epoch."""
    if solved == 0:
        return min(level + 1, LEVELS)
    return max(level - 1, 0) if solved > ENOUGH * rollouts else level


class Sage(ShownInPart):
    """Hints in levels, up where all rollouts fail, down above 35 % success."""

    heading = "A hint for the question below:"

    def next_level(self, level: int | None, tally: Tally) -> int:
        return next_level(level or 0, tally.successes, tally.rollouts)
