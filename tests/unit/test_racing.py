"""Comparing by few draws: bounds, who is let go, who is drawn next; and what the race accepts."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.core.evolve import Evolution, EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.evolve.racing import (
    LEAST_USE,
    Draws,
    divergence,
    group_chance,
    lower_bound,
    most_undecided,
    of_no_use,
    surely_worse,
    upper_bound,
)
from p2o.core.samples import Rollout, Sample

DRAWS = st.integers(0, 200).flatmap(lambda n: st.builds(Draws, st.floats(0, n) if n else st.just(0.0), st.just(n)))

# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "group", "chance"), [(0, 6, 0), (1, 6, 1), (0.05, 6, 0.2649), (0.5, 2, 0.75)])
def test_the_chance_that_a_group_holds_a_success(p: float, group: int, chance: float) -> None:
    assert group_chance(p, group) == pytest.approx(chance, abs=1e-4)


@given(st.integers(1, 300), st.floats(0.001, 0.5))
def test_after_failures_alone_the_bound_is_the_exact_one(n: int, error: float) -> None:
    assert upper_bound(Draws(0, n), error) == pytest.approx(1 - error ** (1 / n), abs=1e-9)
    assert lower_bound(Draws(n, n), error) == pytest.approx(error ** (1 / n), abs=1e-9)
    assert lower_bound(Draws(0, n), error) == 0
    assert upper_bound(Draws(n, n), error) == 1


@given(DRAWS, st.floats(0.001, 0.5))
def test_bounds_enclose_the_mean_and_solve_their_equation(draws: Draws, error: float) -> None:
    low, high = lower_bound(draws, error), upper_bound(draws, error)
    assert 0 <= low <= high <= 1
    if not draws.count:
        assert (low, high) == (0, 1)
        return
    assert low <= draws.mean + 1e-9
    assert high >= draws.mean - 1e-9
    mean = min(1.0, draws.mean)
    for q in (low, high):
        if 1e-6 < q < 1 - 1e-6 and abs(q - mean) > 1e-6:
            assert draws.count * divergence(mean, q) == pytest.approx(math.log(1 / error), rel=1e-3)


@given(DRAWS.filter(lambda d: d.count > 0), st.floats(0.001, 0.4))
def test_more_of_the_same_draws_and_a_larger_error_narrow_the_bounds(draws: Draws, error: float) -> None:
    more = Draws(2 * draws.total, 2 * draws.count)
    assert lower_bound(draws, error) <= lower_bound(more, error) + 1e-9
    assert upper_bound(draws, error) >= upper_bound(more, error) - 1e-9
    assert upper_bound(draws, error) >= upper_bound(draws, 2 * error) - 1e-9


@pytest.mark.parametrize("p", [0.0, 0.05, 0.3, 0.9])
def test_a_bound_is_wrong_as_seldom_as_it_says(p: float) -> None:
    rng = random.Random(1)
    draws = [Draws.of([rng.random() < p for _ in range(40)]) for _ in range(2000)]
    assert sum(upper_bound(d, 0.1) < p for d in draws) / 2000 <= 0.1
    assert sum(lower_bound(d, 0.1) > p for d in draws) / 2000 <= 0.1


# --- the comparison --------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.integers(0, 20), DRAWS, min_size=1, max_size=8), DRAWS, st.integers(1, 12))
def test_the_best_is_never_let_go(arms: dict[int, Draws], best: Draws, group: int) -> None:
    worse = surely_worse(arms, best, lambda p: group_chance(p, group))
    floor = max(lower_bound(d) for d in (best, *arms.values()))
    assert all(upper_bound(arms[arm]) <= floor for arm in worse)
    top = max(arms, key=lambda arm: lower_bound(arms[arm]))
    assert top not in worse or lower_bound(best) > upper_bound(arms[top]) - 1e-9


def test_failures_are_told_from_successes_in_a_few_draws_and_from_rare_successes_not_at_all() -> None:
    group = 6
    worth = lambda p: group_chance(p, group)  # noqa: E731
    assert surely_worse({1: Draws(0, 6), 2: Draws(6, 6)}, Draws(0, 48), worth) == {1}
    assert surely_worse({1: Draws(0, 6), 2: Draws(1, 20)}, Draws(0, 48), worth) == set()
    assert surely_worse({1: Draws(30, 48), 2: Draws(48, 48)}, Draws(0, 48), worth) == {1}  # by the bounds, barely
    assert surely_worse({}, Draws(3, 4), worth) == set()


@given(st.integers(1, 12))
def test_of_no_use_is_what_failed_often_enough(group: int) -> None:
    n = next(n for n in range(1, 10_000) if of_no_use({0: Draws(0, n)}, group))
    assert (
        group_chance(upper_bound(Draws(0, n)), group) < LEAST_USE <= group_chance(upper_bound(Draws(0, n - 1)), group)
    )
    assert of_no_use({0: Draws(n, n), 1: Draws(0, n), 2: Draws(0, n - 1)}, group) == {1}


def test_the_next_draws_go_to_the_largest_upper_bound() -> None:
    open_draws = {3: Draws(0, 6), 1: Draws(0, 3), 2: Draws(2, 6), 7: Draws(0, 0), 5: Draws(0, 0)}
    everywhere = {**open_draws, 7: Draws(3, 3), 5: Draws(0, 3)}
    assert most_undecided(open_draws, everywhere) == [7, 5, 2, 1, 3]


# --- the race --------------------------------------------------------------------------------------------------------

SAMPLES = [Sample(f"s{i}", [{"role": "user", "content": f"Riddle {i}"}]) for i in range(40)]
DEV = SAMPLES[:12]


class World:
    """Texts with the chance of a success on each sample; ``partial`` is the reward of a failure."""

    def __init__(self, chances: dict[str, float], partial: dict[str, float] | None = None, seed: int = 0) -> None:
        self.chances, self.partial, self.rng = chances, partial or {}, random.Random(seed)
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        self.calls.append([(t, s.id) for t, s in pairs])
        out = []
        for template, _ in pairs:
            solved = self.rng.random() < self.chances.get(template, 0.0)
            out.append(Rollout("x", 1.0 if solved else self.partial.get(template, 0.0), solved, "no", 1, 1))
        return out


class Offers:
    """A reflector that writes given texts, one after the other, then the first again."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.next = 0

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        out = []
        for _ in jobs:
            out.append(Reply(f"```\n{self.texts[min(self.next, len(self.texts) - 1)]}\n```", None, 1, 1))
            self.next += 1
        return out


def race(world: World, offers: Offers, folder: Path, **options: object) -> Evolution:
    config = EvolveConfig(**{
        "budget": 400, "parents": 4, "search": "race", "fill_proposals": True, "draws": 6, "patience": 2, **options
    })  # type: ignore[arg-type]  # fmt: skip
    return evolve(SAMPLES[12:], DEV, world, offers, config, folder)


def test_a_template_that_succeeds_now_and_then_is_found_among_others(tmp_path: Path) -> None:
    found = 0
    for seed in range(40):
        e = race(World({"good": 0.08}, seed=seed), Offers("a", "good", "b", "c"), tmp_path / str(seed), seed=seed)
        found += any(t == "good" and any(row) for t, row in zip(e.templates, e.solved_CV, strict=True))
    assert found >= 38


def test_useless_templates_are_let_go_before_the_budget_is_spent(tmp_path: Path) -> None:
    e = race(World({}), Offers("a", "b"), tmp_path, budget=2000, draws=10)
    assert e.stopped == "idle"
    reasons = {c.template: c.reason for c in e.candidates if c.fate == "rejected"}
    assert reasons.keys() == {"a", "b"}
    assert all(reason.endswith("surely of no use") for reason in reasons.values())
    assert 2 * 80 <= e.cost.rollouts["children"] < 2 * 85


def test_patience_counts_from_the_first_success(tmp_path: Path) -> None:
    e = race(
        World({"good": 0.5}), Offers("a", "b", "c", "d", "good", "e", "f"), tmp_path, parents=2, budget=2000, draws=1
    )
    assert e.stopped == "patience"
    solved = [row for row in e.solved_CV if any(row)]
    assert len(solved) == 1
    first = next(n for n, best in enumerate(e.best_scores) if best > 0)
    assert len(e.best_scores) == first + 1 + 2


def test_clear_winners_take_few_draws(tmp_path: Path) -> None:
    world = World({"good": 1.0})
    e = race(world, Offers("a", "b", "good", "c"), tmp_path)
    assert e.stopped == "solved"
    assert e.templates == ["", "good"]
    assert e.cost.metric_calls <= 12 + 12 + 2 * 12 + 12
    assert e.candidates[3].scores == [1.0] * len(e.candidates[3].minibatch)


def test_templates_that_solve_different_samples_are_both_kept(tmp_path: Path) -> None:
    class Halves(World):
        def __call__(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
            half = {"first": 0, "second": 1}
            solved = [half.get(t) == int(s.id[1:]) % 2 for t, s in pairs]
            return [Rollout("x", float(x), x, "no", 1, 1) for x in solved]

    e = race(Halves({}), Offers("first", "a", "second", "b"), tmp_path, draws=1)
    assert set(e.templates) == {"", "first", "second"}
    assert all(any(column) for column in zip(*e.solved_CV, strict=True))


def test_where_nothing_is_solved_the_reward_decides(tmp_path: Path) -> None:
    partial = {"format": 0.5, "half": 0.2}
    e = race(World({}, partial), Offers("a", "half", "format", "b"), tmp_path, draws=1, max_iterations=1)
    assert "format" in e.templates
    assert "a" not in e.templates
    assert e.best_scores[-1] == pytest.approx(0.5)


def test_greedy_rollouts_are_not_drawn_twice(tmp_path: Path) -> None:
    world = World({"good": 0.3})
    race(world, Offers("a", "good", "b"), tmp_path, draws=1)
    pairs = Counter(pair for call in world.calls for pair in call)
    assert set(pairs.values()) == {1}


@settings(max_examples=25, deadline=None)
@given(
    budget=st.integers(12, 300), parents=st.integers(1, 8), minibatch=st.integers(1, 5), draws=st.integers(1, 4),
    patience=st.sampled_from([None, 1, 3]), seed=st.integers(0, 99),
    chances=st.lists(st.sampled_from([0.0, 0.05, 0.5, 1.0]), min_size=1, max_size=9),
)  # fmt: skip
def test_the_race_keeps_its_budget_and_its_account(
    budget: int, parents: int, minibatch: int, draws: int, patience: int | None, seed: int, chances: list[float]
) -> None:
    world = World({f"t{n}": p for n, p in enumerate(chances)}, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        e = race(
            world, Offers(*world.chances), Path(folder), budget=budget, parents=parents, minibatch=minibatch,
            draws=draws, patience=patience, seed=seed,
        )  # fmt: skip
        (Path(folder) / "evolution.json").unlink()
        assert race(
            World({}), Offers("none"), Path(folder), budget=budget, parents=parents, minibatch=minibatch, draws=draws,
            patience=patience, seed=seed,
        ) == e  # fmt: skip
    pairs = Counter(pair for call in world.calls for pair in call)
    assert e.cost.metric_calls == sum(pairs.values()) == sum(e.cost.rollouts.values()) <= budget
    assert max(pairs.values()) <= draws
    assert sorted(e.templates) == sorted(c.template for c in e.candidates if c.fate in ("seed", "accepted"))
    assert "" not in {c.fate for c in e.candidates}
    assert len(set(e.templates)) == len(e.templates)
    assert Evolution.from_dict(json.loads(json.dumps(e.to_dict()))) == e
    for template in e.templates:
        assert {s.id for s in DEV} <= {i for t, i in pairs if t == template}


def test_successes_that_carry_over_little_do_not_hide_those_that_do(tmp_path: Path) -> None:
    class Worth(World):
        """``table`` solves all, ``line`` two of three samples; a success of ``table`` is worth a hundredth."""

        def __call__(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
            solved = [t == "table" or (t == "line" and int(s.id[1:]) % 3 > 0) for t, s in pairs]
            worth = {"table": 0.01, "line": 1.0}
            return [Rollout("x", x * worth.get(t, 0), x, "no", 1, 1) for (t, _), x in zip(pairs, solved, strict=True)]

    e = race(Worth({}), Offers("table", "a", "b", "c", "line"), tmp_path, draws=1, least_success=0.5)
    assert e.templates == ["", "table", "line"]
    assert e.best_scores[-1] == pytest.approx(8 / 12)
