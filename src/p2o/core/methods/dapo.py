"""DAPO's dynamic sampling (arXiv 2503.14476, equation 11): a batch is filled with groups that have a spread.

    drop the groups whose rewards are all equal; draw groups of further samples until the batch is full       hook 1

Of DAPO's four changes to GRPO this is the one that makes up for groups without spread. The other three are settings of
TRL: ``epsilon_high``, ``loss_type: dapo`` (its default) and ``mask_truncated_completions`` or an overlong reward.

As in DAPO's code for verl a batch is given up after ten draws. There the run then ends with an error; here the groups
without spread that are left stay in the batch, and GRPO learns nothing from them. Three more differences:

- Only as many groups are drawn as are missing. There whole batches are drawn, and what is too much is dropped.
- The further samples are a random choice of the data, without those that this batch has drawn. There they are the next
  ones of the epoch, so that an epoch has fewer steps.
- The spread of the rewards on which GRPO trains decides. There it is the spread of the accuracy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from .base import Method


class DAPO(Method):
    """GRPO that replaces groups without spread by groups of further samples."""

    needs_trl = True
    redraws = 9


def further_samples(ids: Iterable[str], drawn: Iterable[str], seed: int, step: int) -> list[str]:
    """The samples that may replace groups of a batch, in the order in which they are drawn.

    Args:
        ids: of all training samples.
        drawn: of the batch's groups. They are left out.
        seed: of the run.
        step: number of the batch; each has an order of its own.
    """
    left = sorted(set(ids) - set(drawn))
    random.Random(f"{seed}:{step}:redraw").shuffle(left)
    return left


def groups_to_draw(missing: int, left: int, group_size: int, processes: int) -> int:
    """How many groups are drawn so that all processes draw as many rollouts: as few as fill the batch, and not more
    than there are samples left."""
    unit = processes // math.gcd(group_size, processes)
    return min(-(-missing // unit), left // unit) * unit
