"""How near a template brings the policy to the known solutions (``template_worth: solution``). Pure.

Where no template has solved anything all rewards are equal, and nothing tells a template of 5 % success from one of
none. Then templates are compared by

    near(x, z) = exp( 1/T Σ_t log π(s_t | T(x, z), s_<t) )

with s the T tokens of the solution of sample x: the geometric mean of their probabilities under the template z. The
first success under a template ends this: from then on rewards alone count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def nearness(logps_T: Sequence[float]) -> float:
    """near(x, z), from 0 to 1.

    Args:
        logps_T: (T,) log π(s_t | T(x, z), s_<t) of the solution's tokens; 0 for an empty solution.
    """
    return math.exp(sum(logps_T) / len(logps_T)) if logps_T else 0.0


def nearest_template(near_C: Sequence[float], bare: int) -> int | None:
    """The nearest of C templates; None if none is nearer than the bare prompt.

    Args:
        near_C: mean nearness of each template on the dev part.
        bare: the index of the bare prompt.
    """
    best = max(range(len(near_C)), key=lambda c: (near_C[c], c == bare))
    return None if best == bare else best
