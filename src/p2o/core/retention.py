"""Retention: what keeps a policy from forgetting what it could (docs/forgetting.md). Off by default.

scale_steps   θ ← θ − s · Adam(g),   s = groups with a spread of rewards / groups of the batch
              Adam divides the gradient by its size: a batch in which one group of sixteen has a spread moves the
              weights as far as one in which all have (arXiv 1412.6980: Adam's steps do not depend on the scale of the
              gradient). SGD's step would be shorter by itself, because the loss is a mean over the batch.
pull          θ ← θ − λ (θ − θ_0) after each step, θ_0 the weights with which training began
              What no gradient keeps away from the start drifts back to it (a decoupled L2-SP, arXiv 1802.01483).

The trainer carries them out (`p2o.trl.step_scale`, `p2o.trl.pull`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .metrics import Group


def spread_share(groups: Sequence[Group], flat_too: bool = False) -> float:
    """s, the share of a batch's groups whose rewards differ.

    Args:
        flat_too: groups that are all solved or all failed count as well, because the method gives them advantages
            (`p2o.core.credit.Credit.flat`).
    """
    return sum(group.spread or (flat_too and group.flat) for group in groups) / len(groups)
