"""The methods that need no solutions: their pure functions against the formulas, written out."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.hard import Tally
from p2o.core.loop import JointLoop
from p2o.core.methods import PromptTools
from p2o.core.methods.dapo import further_samples, groups_to_draw
from p2o.core.methods.knapsack import allocate, chance, value
from p2o.core.methods.known import METHODS
from p2o.core.methods.zvp import flat_advantages
from p2o.core.metrics import Group
from p2o.core.retention import spread_share
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings
from p2o.trl.flat import flat_rows
from p2o.trl.redraw import with_rows

chances = st.floats(0.001, 0.999)

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_every_method_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in page] == []


# --- zvp -------------------------------------------------------------------------------------------------------------


def test_advantages_without_a_spread_are_equation_5() -> None:
    entropies = torch.tensor([[0.2, 1.5, 0.7, 9.0], [0.2, 1.5, 0.7, 9.0]])
    tokens = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])  # 9.0 is padding, and not the largest
    found = flat_advantages(entropies, tokens, torch.tensor([True, False]), alpha=0.1)
    solved = [0.1 * h for h in (0.2, 1.5, 0.7)]
    failed = [-0.1 * (1.5 - h) for h in (0.2, 1.5, 0.7)]
    assert found == pytest.approx(torch.tensor([[*solved, 0], [*failed, 0]]))


def test_a_tools_tokens_have_no_advantage_and_are_not_the_largest() -> None:
    entropies = torch.tensor([[0.2, 8.0, 0.5]])
    found = flat_advantages(entropies, torch.tensor([[1, 0, 1]]), torch.tensor([False]), alpha=1.0)
    assert found == pytest.approx(torch.tensor([[-0.3, 0.0, 0.0]]))


def group(solved: list[bool], spread: bool) -> Group:
    return Group("x", [False] * len(solved), solved, spread)


def test_only_groups_that_are_all_solved_or_all_failed_are_flat() -> None:
    # partial credit: all failed with a spread; and equal rewards of which some count as solved
    groups = [group([True, True], False), group([False, False], True), group([True, False], True)]
    groups += [group([False, False], False), group([True, False], False)]
    assert [g.flat for g in groups] == [True, False, False, True, False]
    assert spread_share(groups) == 2 / 5
    assert spread_share(groups, flat_too=True) == 4 / 5


def test_a_rank_finds_its_rows_of_a_group_that_lies_on_two_ranks() -> None:
    groups = [group([True] * 4, False), group([True, False] * 2, True), group([False] * 4, False)]
    assert flat_rows(groups, 0, 6, 4) == {0: True, 1: True, 2: True, 3: True}
    assert flat_rows(groups, 6, 6, 4) == {2: False, 3: False, 4: False, 5: False}


# --- knapsack --------------------------------------------------------------------------------------------------------


@given(chances, st.integers(2, 16))
def test_one_group_is_worth_what_the_paper_says_of_its_rollouts(p: float, K: int) -> None:
    assert value(p, 1, K) == pytest.approx((1 - p**K - (1 - p) ** K) * p * (1 - p) ** 2)


@given(chances, st.integers(2, 8), st.integers(1, 6))
def test_more_groups_are_worth_the_chance_that_one_has_a_spread(p: float, K: int, m: int) -> None:
    none_has_one = math.prod([p**K + (1 - p) ** K] * m)
    assert value(p, m, K) == pytest.approx((1 - none_has_one) * p * (1 - p) ** 2)


@given(st.lists(chances, min_size=2, max_size=4), st.integers(2, 6))
def test_the_allocation_is_the_best_of_all(ps: list[float], K: int) -> None:
    total = len(ps)
    found = allocate(ps, K, total, most=3)
    assert sum(found) == total

    def worth(groups: tuple[int, ...]) -> float:
        return sum(value(p, m, K) for p, m in zip(ps, groups, strict=True))

    every = [g for g in product(range(4), repeat=total) if sum(g) == total]
    assert worth(tuple(found)) == pytest.approx(max(map(worth, every)))


def test_no_estimate_is_0_or_1_and_no_rollouts_say_nothing() -> None:
    assert chance(0, 0) == 0.5
    assert chance(0, 6) == 0.5 / 7
    assert chance(6, 6) == 6.5 / 7


IDS = [f"s{n}" for n in range(12)]


def knapsack_loop(folder: Path) -> JointLoop:
    samples = {i: Sample(i, [{"role": "user", "content": i}]) for i in IDS}
    return JointLoop(LoopSettings(method="knapsack"), samples, folder, group_size=6, seed=3)


def close_epoch(loop: JointLoop, solved: dict[str, int]) -> list[str]:
    """Draws an epoch in which so many of six rollouts are solved. Returns what was drawn."""
    drawn = loop.order(IDS, loop.next_epoch - 1)
    for sample_id in drawn:
        count = solved[sample_id]
        loop.record(sample_id, [1.0] * count + [0.0] * (6 - count), [False] * 6)
    loop.prompt_step(PromptTools(lambda pairs: [], lambda jobs: []))
    return drawn


def test_rollouts_go_from_mastered_samples_to_those_that_fail_and_come_back(tmp_path: Path) -> None:
    loop = knapsack_loop(tmp_path)
    solved = {i: 6 if n < 6 else 0 if n < 9 else 3 for n, i in enumerate(IDS)}
    epochs = [close_epoch(loop, solved) for _ in range(8)]
    assert epochs[0] == IDS  # nothing is known yet: the uniform order
    second = epochs[1]
    mastered, failing, mixed = (sum(second.count(i) for i in part) for part in (IDS[:6], IDS[6:9], IDS[9:]))
    assert mastered < 6 < failing + mixed
    assert failing > 3
    assert all(any(i in epoch for epoch in epochs[1:]) for i in IDS)
    assert {len(epoch) for epoch in epochs} == {12}


def test_a_resumed_knapsack_draws_the_same(tmp_path: Path) -> None:
    loop, copy = knapsack_loop(tmp_path / "first"), knapsack_loop(tmp_path / "second")
    solved = {i: n % 7 for n, i in enumerate(IDS)}
    for _ in range(2):
        close_epoch(loop, solved)
    copy.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    assert copy.order(IDS, 2) == loop.order(IDS, 2) != IDS
    assert [close_epoch(copy, solved) for _ in range(3)] == [close_epoch(loop, solved) for _ in range(3)]


def test_a_rollout_under_a_template_says_nothing_about_the_bare_prompt(tmp_path: Path) -> None:
    from p2o.core.methods.base import EpochEnd
    from p2o.core.summary import EpochSummary

    method = knapsack_loop(tmp_path).method
    tools = PromptTools(lambda pairs: [], lambda jobs: [])
    method.between_epochs(EpochEnd(1, {"s0": Tally(2, 1, 4, 4)}, EpochSummary(0), tools, tmp_path))
    assert method.state_dict()["counts"]["s0"] == [1.0, 2.0]


# --- dapo ------------------------------------------------------------------------------------------------------------


def test_further_samples_are_new_to_the_batch_and_follow_from_the_step() -> None:
    found = further_samples(IDS, ["s1", "s2"], seed=0, step=4)
    assert sorted(found) == sorted(set(IDS) - {"s1", "s2"})
    assert found == further_samples(IDS[::-1], ["s2", "s1"], seed=0, step=4)
    assert found != further_samples(IDS, ["s1", "s2"], seed=0, step=5)
    assert found != further_samples(IDS, ["s1", "s2"], seed=1, step=4)


@given(st.integers(0, 20), st.integers(0, 40), st.integers(2, 16), st.integers(1, 8))
def test_the_ranks_get_as_many_rows_of_as_few_groups_as_can_be(missing: int, left: int, K: int, ranks: int) -> None:
    found = groups_to_draw(missing, left, K, ranks)
    shared = [n for n in range(left + 1) if n * K % ranks == 0]
    assert found == next((n for n in shared if n >= missing), shared[-1])


def test_wider_and_narrower_rows_take_their_places() -> None:
    batch = {
        "prompt_ids": torch.tensor([[5, 6], [7, 8]]),
        "prompt_mask": torch.ones(2, 2, dtype=torch.long),
        "completion_ids": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        "completion_mask": torch.ones(2, 3, dtype=torch.long),
        "advantages": torch.tensor([0.0, 0.0]),
        "num_items_in_batch": torch.tensor(6),
    }
    row = {
        "prompt_ids": torch.tensor([1, 2, 3]),
        "prompt_mask": torch.tensor([0, 1, 1]),
        "completion_ids": torch.tensor([9]),
        "completion_mask": torch.tensor([1]),
        "advantages": torch.tensor(1.5),
    }
    found = with_rows(batch, {1: row}, pad_id=99)
    assert found["prompt_ids"].tolist() == [[99, 5, 6], [1, 2, 3]]
    assert found["prompt_mask"].tolist() == [[0, 1, 1], [0, 1, 1]]
    assert found["completion_ids"].tolist() == [[1, 2, 3], [9, 99, 99]]
    assert found["completion_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert found["advantages"].tolist() == [0.0, 1.5]
    assert batch["advantages"].tolist() == [0.0, 0.0]
