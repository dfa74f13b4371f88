"""The order of an epoch's samples by the method's hook *order*. Does not import verl."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

Order = Callable[[Sequence[str], int], Sequence[str]]
"""(ids in the uniform order, epoch) → as many ids."""


class OrderedSampler(Sampler[int]):
    """Rows of the training data, shuffled by seed and epoch and then put into the method's order.

    It has no state of its own, so that verl's dataloader resumes within an epoch by skipping what was drawn.

    Args:
        ids: the sample id of each row.
        order: the method's hook, checked (`p2o.core.loop.JointLoop.order`).
        epoch: the running epoch, from 0.
        seed: of the shuffle; None leaves the rows as they stand in the data.
    """

    def __init__(self, ids: Sequence[str], order: Order, epoch: Callable[[], int], seed: int | None) -> None:
        self.ids, self.order, self.epoch, self.seed = list(ids), order, epoch, seed
        self.row_of = {sample_id: n for n, sample_id in reversed(list(enumerate(self.ids)))}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch()
        wanted = self.order([self.ids[n] for n in self._shuffled(epoch)], epoch)
        return iter([self.row_of[sample_id] for sample_id in wanted])

    def _shuffled(self, epoch: int) -> list[int]:
        if self.seed is None:
            return list(range(len(self.ids)))
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        rows: list[int] = torch.randperm(len(self.ids), generator=generator).tolist()
        return rows


def in_order_of(sampler: OrderedSampler, loader: Any) -> Any:
    """verl's data loader with a sampler of ours."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    return StatefulDataLoader(
        dataset=loader.dataset,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        drop_last=loader.drop_last,
        collate_fn=loader.collate_fn,
        sampler=sampler,
    )
