"""Advantages of groups without spread (`p2o.core.credit.Credit.flat`) on a batch of rollouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..core.metrics import Group
from .batch import model_tokens

if TYPE_CHECKING:
    from ..core.credit import FlatAdvantages

Output = dict[str, Any]


def flat_rows(groups: Sequence[Group], first: int, rows: int, group_size: int) -> dict[int, bool]:
    """This rank's rows whose group is flat (`Group.flat`) → whether the group is all solved.

    Args:
        groups: of all ranks, in TRL's rank-major order.
        first: place of this rank's first row among the rows of all ranks.
        rows: of this rank.
    """
    own = {n: groups[(first + n) // group_size] for n in range(rows)}
    return {n: all(group.solved) for n, group in own.items() if group.flat}


def put_flat_advantages(
    output: Output,
    solved_of: Mapping[int, bool],
    entropies_of: Callable[[Output, list[int]], torch.Tensor],
    flat: FlatAdvantages,
) -> None:
    """Writes the advantages of flat groups into TRL's batch, which has one for each token then.

    Args:
        output: TRL's batch; its ``advantages`` are changed.
        solved_of: as from `flat_rows`.
        entropies_of: (output, R rows) → (R, T) entropies of the policy at their tokens (collective with sharded
            weights).
    """
    rows = list(solved_of)
    entropies_RT = entropies_of(output, rows)
    advantages = output["advantages"]
    if advantages.dim() == 1:
        advantages = advantages[:, None].repeat(1, output["completion_ids"].size(1))
    solved_R = torch.tensor(list(solved_of.values()), dtype=torch.bool, device=advantages.device)
    advantages[rows] = flat(entropies_RT, model_tokens(output)[rows], solved_R).to(advantages.dtype)
    output["advantages"] = advantages
