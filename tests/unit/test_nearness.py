"""How near a template brings the policy to the solutions, and what an evolution and its pool make of it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve import Evolution, EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.evolve.inputs import fingerprint_of
from p2o.core.evolve.result import EvolveCost
from p2o.core.methods.evolving import pool_of
from p2o.core.methods.p2o import P2O
from p2o.core.nearness import nearest_template, nearness
from p2o.core.samples import Rollout, Sample
from p2o.core.settings import LoopSettings
from p2o.errors import ConfigError
from p2o.verl.settings import VerlSettings

PROBABILITIES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=30)


@given(PROBABILITIES)
def test_it_is_the_geometric_mean(probabilities: list[float]) -> None:
    mean = math.prod(probabilities) ** (1 / len(probabilities))
    assert nearness([math.log(p) for p in probabilities]) == pytest.approx(mean)


def test_without_a_solution_it_is_nothing() -> None:
    assert nearness([]) == 0


def test_the_nearest_is_not_a_template_that_is_no_nearer_than_the_bare_prompt() -> None:
    assert nearest_template([0.1, 0.3, 0.25], bare=0) == 1
    assert nearest_template([0.3, 0.3], bare=0) is None
    assert nearest_template([0.2, 0.3], bare=1) is None


def evolution(bare: bool = False, far: bool = False, measured: bool = True) -> Evolution:
    """Of the bare prompt and of the templates near and far; whether the bare prompt and far solve a sample."""
    solved_CV = [[bare, False], [False, False], [False, far]]
    return Evolution(
        candidates=[], templates=["", "near", "far"], parents=[None, 0, 0],
        scores_CV=[[float(s) for s in row] for row in solved_CV], solved_CV=solved_CV,
        dev_ids=["a", "b"], train_ids=["c"], budget=9, cost=EvolveCost(), best_scores=[0.0], stopped="budget",
        near_C=[0.1, 0.5, 0.1] if measured else [],
    )  # fmt: skip


def test_the_pool_is_the_nearest_template_where_nothing_is_solved() -> None:
    (kept,) = pool_of(evolution(), LoopSettings(template_worth="solution"))
    assert (kept.text, kept.weight, kept.solves) == ("near", 0.0, frozenset())
    assert pool_of(evolution(measured=False), LoopSettings()) == []


def test_a_lucky_bare_rollout_does_not_change_that() -> None:
    assert [t.text for t in pool_of(evolution(bare=True), LoopSettings(template_worth="solution"))] == ["near"]


def test_one_success_of_a_template_counts_more_than_nearness() -> None:
    assert [t.text for t in pool_of(evolution(far=True), LoopSettings(template_worth="solution"))] == ["far"]


SAMPLES = [Sample(f"s{n}", [{"role": "user", "content": f"Riddle {n}"}], columns={"solution": "x"}) for n in range(24)]


class World:
    """Texts with their nearness, and with the chance of a success."""

    def __init__(self, near: dict[str, float], chances: dict[str, float], seed: int = 0) -> None:
        self.near, self.chances, self.rng = near, chances, random.Random(seed)

    def __call__(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        out = []
        for template, _ in pairs:
            solved = self.rng.random() < self.chances.get(template, 0.0)
            near = None if solved else self.near.get(template, 0.1)
            out.append(Rollout("x", float(solved), solved, "no", 1, 1, near=near))
        return out


def evolved(world: World, folder: Path, search: Any, texts: Sequence[str], **options: Any) -> Evolution:
    """An evolution in which a reflector writes these texts, one after the other, then the last one again."""
    left = list(texts)

    def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [Reply(f"```\n{left.pop(0) if len(left) > 1 else left[0]}\n```", None, 1, 1) for _ in jobs]

    settings = {"budget": 200, "parents": 4, "fill_proposals": True, "nearness": True, "max_iterations": 2, **options}
    return evolve(SAMPLES[12:], SAMPLES[:12], world, reflect, EvolveConfig(search=search, **settings), folder)


SEARCHES = pytest.mark.parametrize("search", ["race", "minibatch"])


@SEARCHES
def test_where_nothing_is_solved_the_nearest_template_is_accepted(tmp_path: Path, search: str) -> None:
    e = evolved(World({"near": 0.6}, {}), tmp_path, search, ["a", "near", "b", "c"])
    assert "near" in e.templates
    assert "a" not in e.templates
    assert e.near_C[e.templates.index("near")] == pytest.approx(0.6)
    assert [t.text for t in pool_of(e, LoopSettings(template_worth="solution"))] == ["near"]
    assert max(e.best_scores) == 0


@SEARCHES
def test_it_is_so_if_the_bare_prompt_is_lucky(tmp_path: Path, search: str) -> None:
    for seed in range(8):
        e = evolved(World({"near": 0.6}, {"": 0.04}, seed), tmp_path / str(seed), search, ["a", "near", "b", "c"])
        assert [t.text for t in pool_of(e, LoopSettings(template_worth="solution"))] == ["near"]


@SEARCHES
def test_after_a_success_of_a_template_nearness_no_longer_counts(tmp_path: Path, search: str) -> None:
    e = evolved(World({"near": 0.6}, {"good": 0.9}), tmp_path, search, ["good", "good too", "x", "y", "near", "z"])
    assert "good" in e.templates
    assert "near" not in e.templates


@SEARCHES
def test_without_the_setting_it_does_not_count(tmp_path: Path, search: str) -> None:
    e = evolved(World({"near": 0.6}, {}), tmp_path, search, ["a", "near", "b", "c"], nearness=False)
    assert e.templates == [""]
    assert e.near_C == []


def test_other_solutions_are_another_evolution() -> None:
    def fingerprint(solution: str, nearness: bool) -> str:
        samples = [Sample("a", [], columns={"solution": solution})]
        return fingerprint_of(samples, samples, EvolveConfig(nearness=nearness), [""])

    assert len({fingerprint("1", True), fingerprint("2", True), fingerprint("1", False)}) == 3
    assert fingerprint("1", False) == fingerprint("2", False)


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
