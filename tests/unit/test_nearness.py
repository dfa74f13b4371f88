"""How near a template brings the policy to the solutions, and what an evolution and its pool make of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve import Evolution
from p2o.core.methods.evolving import pool_of
from p2o.core.methods.p2o import P2O
from p2o.core.nearness import SHARE, nearest_template, nearness
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings
from p2o.errors import ConfigError
from p2o.verl.settings import VerlSettings

PROBABILITIES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=30)


@given(PROBABILITIES)
def test_it_is_a_hundredth_of_the_geometric_mean(probabilities: list[float]) -> None:
    mean = math.prod(probabilities) ** (1 / len(probabilities))
    assert nearness([math.log(p) for p in probabilities]) == pytest.approx(0.01 * mean)


@given(PROBABILITIES)
def test_no_failure_is_worth_a_success(probabilities: list[float]) -> None:
    assert 0 < nearness([math.log(p) for p in probabilities]) <= SHARE * (1 + 1e-12)


def test_without_a_solution_it_is_nothing() -> None:
    assert nearness([]) == 0


def test_the_nearest_is_not_a_template_that_is_no_nearer_than_the_bare_prompt() -> None:
    assert nearest_template([[0.001, 0.001], [0.004, 0.002], [0.005, 0.0]], bare=0) == 1
    assert nearest_template([[0.003, 0.003], [0.004, 0.002]], bare=0) is None
    assert nearest_template([[0.004, 0.002], [0.003, 0.003]], bare=1) is None


def evolution(solved: bool) -> Evolution:
    return Evolution(
        candidates=[], templates=["", "near", "far"], parents=[None, 0, 0],
        scores_CV=[[0.001, 0.001], [0.005, 0.005], [0.001, 1.0 if solved else 0.001]],
        solved_CV=[[False, False], [False, False], [False, solved]],
        dev_ids=["a", "b"], train_ids=["c"], budget=9, cost=Any, best_scores=[0.0], stopped="budget",
    )  # fmt: skip


def test_the_pool_is_the_nearest_template_where_nothing_is_solved() -> None:
    settings = LoopSettings(template_worth="solution")
    (kept,) = pool_of(evolution(solved=False), settings)
    assert (kept.text, kept.weight, kept.solves) == ("near", 0.0, frozenset())
    assert pool_of(evolution(solved=False), LoopSettings()) == []


def test_one_success_counts_more_than_nearness() -> None:
    assert [t.text for t in pool_of(evolution(solved=True), LoopSettings(template_worth="solution"))] == ["far"]


def test_every_sample_needs_a_solution() -> None:
    samples = {n: Sample(n, [], columns={"solution": "1 + 1 = 2"} if n == "a" else {}, place=f"row {n}") for n in "ab"}
    with pytest.raises(ConfigError, match=r"template_worth: solution needs a solution .* 1 of 2 have no .*\(row b\)"):
        P2O(LoopSettings(template_worth="solution"), samples, 4, 0)
    P2O(LoopSettings(), samples, 4, 0)


def test_unscored_pools_and_verl_refuse_it() -> None:
    with pytest.raises(ConfigError, match="pool is proposals, which keeps all templates"):
        LoopSettings(template_worth="solution", pool="proposals").check_loop(4)
    settings: dict[str, Any] = {"num_generations": 4, "template_worth": "solution"}
    with pytest.raises(ConfigError, match=r"template_worth=solution: between epochs verl gives no log-probs"):
        VerlSettings(**settings)
