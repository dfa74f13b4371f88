"""The order of an epoch's samples: TRL's, replayed for any epoch, and changed by the method's hook *order*."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

Order = Callable[[Sequence[str], int], Sequence[str]]
"""(ids in the uniform order, epoch) → as many ids."""


class EpochSampler(Sampler[int]):
    """TRL's RepeatSampler, whose shuffle of epoch e depends on e alone.

    TRL draws the permutations of all epochs from one random generator, so a resumed run would start again with the
    permutation of epoch 0. `set_epoch` first draws the permutations of the earlier epochs and drops them. So the order
    is that of a TRL run that was not interrupted.

    Args:
        sampler: TRL's sampler over the rows of the training data.
        ids: the id of each row.
        order: the method's hook.
    """

    def __init__(self, sampler: Any, ids: Sequence[str], order: Order) -> None:
        self.sampler, self.ids, self.order = sampler, list(ids), order
        self.row_of = {sample_id: n for n, sample_id in enumerate(self.ids)}
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (from 0) whose order the next iteration gives."""
        self.epoch = epoch
        if not self.sampler.shuffle:
            return
        self.sampler.generator.manual_seed(self.sampler.seed)
        for _ in range(epoch):
            torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)

    def __iter__(self) -> Iterator[int]:
        uniform = self._uniform_order()
        wanted = self.order([self.ids[n] for n in uniform], self.epoch)
        replaced_by = {n: self.row_of[sample_id] for n, sample_id in zip(uniform, wanted, strict=True)}
        return (replaced_by[n] for n in self.sampler)

    def _uniform_order(self) -> list[int]:
        """The rows in the order in which TRL's sampler will draw them next."""
        if not self.sampler.shuffle:
            return list(range(self.sampler.num_samples))
        copy = torch.Generator()
        copy.set_state(self.sampler.generator.get_state())
        order: list[int] = torch.randperm(self.sampler.num_samples, generator=copy).tolist()
        return order

    def __len__(self) -> int:
        return len(self.sampler)
