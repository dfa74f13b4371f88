"""Prefixes of solutions (POPE, arXiv 2601.18779; QuestA, arXiv 2507.13266): the beginning of a sample's solution stands
in front of the question, and becomes shorter as success grows.

    prompt    x' = (first ℓ/4 of the solution's steps, x)                                           hook prompt
    length    ℓ ← 4       when all rollouts of a bare prompt failed for the first time
              ℓ ← ℓ - 1   when at least half of the rollouts after x' were solved
              ℓ ← 1       when all rollouts fail again after ℓ came to 0                     hook between epochs
    credit    GRPO on x', the prompt that the rollouts were drawn from                              hook credit

What the policy learns after long prefixes it has to carry over to shorter ones, and in the end to the bare prompt.

Different from the papers: POPE draws each hard prompt with and without a prefix in every batch and looks for the
shortest prefix that works before training; QuestA shows one half, later one quarter, to all samples. Here each sample
has its own length, and the bare prompt comes back when the prefix has shrunk to nothing.
"""

from __future__ import annotations

from ..hard import Tally
from .shown import LEVELS, ShownInPart

ENOUGH = 0.5
"""Share of solved rollouts at which a prefix becomes shorter."""


def next_length(length: int | None, solved: int, rollouts: int) -> int | None:
    """ℓ in the next epoch; None: the sample never needed a prefix."""
    if not length:
        if solved:
            return length
        return LEVELS if length is None else 1
    return length - 1 if solved >= ENOUGH * rollouts else length


class Prefix(ShownInPart):
    """The beginning of a solution in front, shortened as success grows."""

    heading = "The solution of the question below begins like this:"

    def next_level(self, level: int | None, tally: Tally) -> int | None:
        return next_length(level, tally.successes, tally.rollouts)
