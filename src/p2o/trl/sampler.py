"""A sampler that can be put back to any epoch of TRL's permutation stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler


class ReplayingSampler(Sampler[int]):
    """TRL's RepeatSampler, whose shuffle of epoch e depends on e alone.

    TRL draws each epoch's permutation from one running generator, so a resumed run would begin again with the
    permutation of epoch 0. `set_epoch` draws (and throws away) the permutations of the epochs before, so the order
    equals an undisturbed TRL run's.
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def set_epoch(self, epoch: int) -> None:
        if not self.sampler.shuffle:
            return
        self.sampler.generator.manual_seed(self.sampler.seed)
        for _ in range(epoch):
            torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)
