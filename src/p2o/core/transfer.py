"""What a template is worth on the bare prompt (``template_worth: transfer``). Pure.

A template is kept for its success, but only what carries over to the bare prompt is learned. A rollout y of T(x, z)
that earned something is worth its reward times

    w(y) = e^−k,    k = round( Σ_t max(0, log ρ − Δ_t) / |log ρ| )
    Δ_t = log π(y_t | x, y_<t) − log π(y_t | T(x, z), y_<t)

with ρ = ``ratio_low``, the lower bound of the ratio mask: tokens that the mask lets through cost nothing, and a token
as far below the bound as the bound is below 1 costs a factor e. So w is 1 for what the bare policy can be taught, and
near 0 for a route of many tokens that it never takes. The factors are whole, because a child that is its parent's equal
but for noise is not strictly better.

HiLL (arXiv 2604.00698) multiplies a hint's reward by exp(min(Δ, 0) / 0.3), Δ the mean of Δ_t. In a long answer that
mean hides the one token that decides, and it lowers likely routes of several choices as much (docs/decisions.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

TemplateWorth = Literal["success", "transfer", "solution"]
"""``success`` (paper): a template is worth its rewards. ``transfer``: each reward is multiplied by `carry_over`.
``solution``: its rewards; without any success, how likely the solutions are under it (`p2o.core.nearness`)."""

NEAR = 0.5
"""A template solves a dev sample if its worth there is at least this share of the best template's."""


def carry_over(bare_logps_T: Sequence[float], templated_logps_T: Sequence[float], low: float) -> float:
    """The weight w of one rollout, from 0 to 1.

    Args:
        bare_logps_T: (T,) log π(y_t | x, y_<t).
        templated_logps_T: (T,) log π(y_t | T(x, z), y_<t).
        low: ρ, below 1.
    """
    bound = math.log(low)
    pairs = zip(bare_logps_T, templated_logps_T, strict=True)
    below = sum(max(0.0, bound - (bare - templated)) for bare, templated in pairs)
    return math.exp(-round(below / -bound))


def solved_near_best(scores_CV: Sequence[Sequence[float]], solved_CV: Sequence[Sequence[bool]]) -> list[list[bool]]:
    """Which templates solve each dev sample about as well as the best one does, by their worth: what the cover covers,
    and between which templates a dev sample draws.

    Args:
        scores_CV: worth of each of C templates on each of V dev samples.
        solved_CV: whether its rollout was solved.
    """
    best_V = [max(worth_C) for worth_C in zip(*scores_CV, strict=True)]
    return [
        [solved and worth >= NEAR * best for worth, solved, best in zip(worth_V, solved_V, best_V, strict=True)]
        for worth_V, solved_V in zip(scores_CV, solved_CV, strict=True)
    ]
