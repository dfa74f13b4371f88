"""Budgets, front weights, parents, minibatches: pure functions against values written out."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve import EvolveConfig, budget
from p2o.core.evolve.budget import CANDIDATES
from p2o.core.evolve.selection import draw_minibatch, draw_parents, front_weights, rng_for, strictly_better
from p2o.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "dev", "calls"),
    [
        # V + 5n + 35N + (⌊(N+1)/5⌋ + 1 + [N<5])·V with N = 10, 18, 27, 54, 81, 108, 432
        ("light", 300, 300 + 30 + 350 + 3 * 300),
        ("medium", 300, 300 + 60 + 630 + 4 * 300),
        ("heavy", 300, 300 + 90 + 945 + 6 * 300),
        ("heavy_2", 300, 300 + 180 + 1890 + 12 * 300),
        ("heavy_3", 300, 300 + 270 + 2835 + 17 * 300),
        ("heavy_4", 300, 11_040),  # the figure of the reference's scripts
        ("heavy_16", 300, 300 + 1440 + 15_120 + 87 * 300),
        ("light", 40, 540),
        (1234, 300, 1234),
        ("1234", 300, 1234),
    ],
)
def test_budget_table(name: str | int, dev: int, calls: int) -> None:
    assert budget(name, dev) == calls


@given(st.sampled_from(sorted(CANDIDATES)), st.integers(1, 5000))
def test_a_named_budget_pays_for_more_than_the_seed(name: str, dev: int) -> None:
    assert budget(name, dev) > dev


def test_unknown_budget_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean heavy_4"):
        budget("heavy4", 300)
    with pytest.raises(ConfigError, match="at least 1"):
        budget(0, 300)
    with pytest.raises(ConfigError, match="minibatch"):
        EvolveConfig(minibatch=0)


def test_front_weights_are_not_pruned() -> None:
    # 0 solves samples 0, 1, 2; specialists 1, 2, 3 solve {0, 3}, {1, 4}, {2, 5}: stock gepa never picks 0
    front: dict[object, set[int]] = {0: {0, 1}, 1: {0, 2}, 2: {0, 3}, 3: {1}, 4: {2}, 5: {3}}
    assert front_weights(front) == {0: 3, 1: 2, 2: 2, 3: 2}
    picks = Counter(draw_parents({0: 3, 1: 2, 2: 2, 3: 2}, 1, random.Random(i))[0] for i in range(9000))
    assert picks[0] / 9000 == pytest.approx(1 / 3, abs=0.02)
    assert picks[1] / 9000 == pytest.approx(2 / 9, abs=0.02)


@given(
    st.dictionaries(st.integers(0, 30), st.integers(1, 50), min_size=1, max_size=20),
    st.integers(1, 25),
    st.integers(),
    st.booleans(),
)
def test_parents_are_distinct_and_from_the_front(weights: dict[int, int], count: int, seed: int, fill: bool) -> None:
    parents = draw_parents(weights, count, random.Random(seed), fill)
    distinct = min(count, len(weights))
    assert len(set(parents[:distinct])) == distinct
    assert set(parents) <= set(weights)
    assert len(parents) == (count if fill else distinct)
    assert parents == draw_parents(weights, count, random.Random(seed), fill)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 30), st.integers())
def test_minibatches_use_every_sample_once_before_any_twice(total: int, size: int, draws: int, seed: int) -> None:
    rng, unused = random.Random(seed), list(range(total))
    used: Counter[int] = Counter()
    for _ in range(draws):
        batch, unused = draw_minibatch(unused, total, size, rng)
        assert len(set(batch)) == len(batch) == min(size, total)
        used.update(batch)
        assert max(used.values()) - min(used[i] for i in range(total)) <= 1
    assert sum(used.values()) == draws * min(size, total)


def test_chance_follows_from_seed_and_place_alone() -> None:
    assert rng_for(3, "job", 1, 2).random() == rng_for(3, "job", 1, 2).random()
    assert len({rng_for(s, "job", i, 2).random() for s in range(3) for i in range(3)}) == 9


def test_acceptance_is_strict() -> None:
    assert strictly_better([1, 0, 1], [1, 0, 0])
    assert not strictly_better([1, 0, 0], [0, 0, 1])
