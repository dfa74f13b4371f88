"""How near a template brings the policy to the known solutions (``template_worth: solution``). Pure.

Where no template has solved anything all rewards are equal, and nothing tells a template of 5 % success from one of
none. A failed rollout of the sample x under the template z then earns, beside its reward,

    0.01 · exp( 1/T Σ_t log π(s_t | T(x, z), s_<t) )

with s the T tokens of the sample's solution: a hundredth of their geometric mean probability. That is too little to
count beside a success, and decides where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARE = 0.01
"""The most that nearness adds to a reward."""


def nearness(logps_T: Sequence[float]) -> float:
    """What a failed rollout earns, from 0 to `SHARE`.

    Args:
        logps_T: (T,) log π(s_t | T(x, z), s_<t) of the solution's tokens; 0 for an empty solution.
    """
    return SHARE * math.exp(sum(logps_T) / len(logps_T)) if logps_T else 0.0


def nearest_template(scores_CV: Sequence[Sequence[float]], bare: int) -> int | None:
    """The template with the largest mean score of those that solve nothing; None if the bare prompt has it.

    Args:
        scores_CV: score of each of C templates on each of V dev samples.
        bare: the index of the bare prompt.
    """
    best = max(range(len(scores_CV)), key=lambda c: (sum(scores_CV[c]), c == bare))
    return None if best == bare else best
