"""The order of samples on verl by a method's hook; needs no verl."""

from __future__ import annotations

from collections.abc import Sequence

from p2o.verl.sampler import OrderedSampler

IDS = [f"sample-{n}" for n in range(8)]


def rows(sampler: OrderedSampler) -> list[int]:
    assert len(sampler) == len(IDS)
    return list(sampler)


def test_the_shuffle_follows_from_seed_and_epoch() -> None:
    epoch = 0
    sampler = OrderedSampler(IDS, lambda ids, epoch: ids, lambda: epoch, seed=3)
    first = rows(sampler)
    assert rows(sampler) == first, "asked again in the same epoch, as by a resumed run"
    assert sorted(first) == list(range(8))
    epoch = 1
    assert rows(sampler) != first
    assert rows(OrderedSampler(IDS, lambda ids, epoch: ids, lambda: 0, seed=4)) != first
    assert rows(OrderedSampler(IDS, lambda ids, epoch: ids, lambda: 0, seed=None)) == list(range(8))


def test_a_method_may_repeat_samples_and_leave_others_out() -> None:
    def halves(ids: Sequence[str], epoch: int) -> list[str]:
        assert epoch == 2
        return sorted(ids)[:4] * 2

    assert rows(OrderedSampler(IDS, halves, lambda: 2, seed=0)) == [0, 1, 2, 3] * 2


def test_rows_that_repeat_are_one_sample() -> None:
    sampler = OrderedSampler(["a", "b", "a"], lambda ids, epoch: ["a", "a", "b"], lambda: 0, seed=0)
    assert list(sampler) == [0, 0, 1]
