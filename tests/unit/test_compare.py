"""Arms, paired intervals, curves and the table of a comparison."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.analysis.compare.arms import ARMS, P2O_IN_ALL, arms_of, settings_of
from p2o.analysis.compare.command import budget_settings
from p2o.analysis.compare.figure import mean_curve
from p2o.analysis.compare.results import RunResult
from p2o.analysis.compare.summary import summarize
from p2o.analysis.compare.table import rows_of
from p2o.analysis.statistics import mean_success, paired_difference, two_way_bootstrap
from p2o.base.markdown import table
from p2o.cli.main import main
from p2o.core.evolve.selection import draw_parents
from p2o.errors import ConfigError
from p2o.runs.reading import setting_words
from p2o.runs.recipe import load_recipe


@pytest.mark.parametrize("name", [a for a in ARMS if a != "prompt_only"])
def test_every_arm_is_a_valid_override_of_the_shipped_recipes(name):
    for recipe in ("quickstart", "smollm2"):
        loaded = load_recipe(recipe)
        changed = settings_of(ARMS[name], loaded)
        merged = load_recipe(recipe, setting_words(changed))
        for key, value in changed.items():
            found = getattr(merged.training, key, getattr(merged.task, key, None))
            assert getattr(found, "value", found) == value, key


@pytest.mark.parametrize("name", ["single_reflection", "random_pool"])
def test_one_round_of_reflection_is_as_many_proposals_as_parents_are_asked_for(name):
    paper = "paper/deepscaler_5k_self"
    changed = settings_of(ARMS[name], load_recipe(paper))
    again = load_recipe(paper, setting_words(changed))
    assert (again.training.evolve_max_iterations, again.training.fill_proposals) == (1, True)
    weights = {0: 1}  # the first front: the bare prompt
    assert len(draw_parents(weights, again.training.evolve_parents, random.Random(0), fill=True)) == 16
    assert len(draw_parents(weights, again.training.evolve_parents, random.Random(0), fill=False)) == 1


def test_twice_the_rollouts_keep_the_groups_of_a_step():
    recipe = load_recipe("quickstart")
    twice = load_recipe("quickstart", setting_words(settings_of(ARMS["grpo_x2"], recipe)))
    assert twice.training.num_generations == 2 * recipe.training.num_generations
    assert twice.training.generation_batch_size == 2 * recipe.training.generation_batch_size
    assert twice.training.per_device_train_batch_size == recipe.training.per_device_train_batch_size


def test_equal_cost_comes_last_and_needs_something_to_equal():
    recipe = load_recipe("quickstart")
    assert [a.name for a in arms_of(recipe, ["grpo_equal", "p2o", "grpo"])] == ["p2o", "grpo", "grpo_equal"]
    with pytest.raises(ConfigError, match="given what P²O cost"):
        arms_of(recipe, ["grpo_equal", "grpo"])


def test_an_unknown_arm_is_told_with_the_nearest_and_a_teacher_must_be_named():
    recipe = load_recipe("quickstart")
    with pytest.raises(ConfigError, match="did you mean p2o_graduated"):
        arms_of(recipe, ["p2o_graduate"])
    with pytest.raises(ConfigError, match="names no stronger reflector"):
        arms_of(recipe, ["p2o_teacher"])
    taught = load_recipe("quickstart", ["--arms", "{p2o_teacher: {reflector: openai, reflector_model: big}}"])
    arm = arms_of(taught, ["p2o_teacher"])[0]
    assert arm.settings == {"reflector": "openai", "reflector_model": "big"}
    assert arm.name in P2O_IN_ALL


def test_a_recipe_without_eval_data_is_watched_on_its_test_data():
    recipe = load_recipe("smollm2")
    assert settings_of(ARMS["p2o"], recipe)["eval"] == recipe.task.test
    assert "eval" not in settings_of(ARMS["p2o"], load_recipe("quickstart"))


def test_budgets():
    assert budget_settings(None) == {}
    assert budget_settings("cost=2e6")["max_cost"] == 2_000_000
    assert budget_settings("steps=30")["max_steps"] == 30
    for wrong in ("tokens=5", "cost", "cost=much", "rollouts=0"):
        with pytest.raises(ConfigError, match="--budget"):
            budget_settings(wrong)


outcomes = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4)


def as_runs(rows):
    return {seed: {f"s{n}": float(v) for n, v in enumerate(row)} for seed, row in enumerate(rows)}


@settings(deadline=None, max_examples=25)
@given(outcomes, outcomes)
def test_differences_are_paired_means_within_their_intervals_and_change_sign(ours, theirs):
    a, b = as_runs(ours), as_runs(theirs)
    shared = range(min(len(ours), len(theirs)))
    expected = np.mean([float(ours[s][n]) - float(theirs[s][n]) for s in shared for n in range(3)])
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.mean == pytest.approx(expected)
    assert there.interval[0] - 1e-9 <= there.mean <= there.interval[1] + 1e-9
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]), abs=1e-9)
    assert (there.seeds, there.samples) == (len(shared), 3)


def test_the_interval_covers_the_mean_of_crossed_effects_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for draw in range(60):
        seeds, samples = rng.normal(0, 0.3, (6, 1)), rng.normal(0, 0.5, (1, 40))
        low, high = two_way_bootstrap(0.2 + seeds + samples + rng.normal(0, 0.2, (6, 40)), seed=draw)
        hits += low <= 0.2 <= high
    assert hits >= 0.85 * 60  # few seeds make it a little narrow


def test_more_spread_between_seeds_makes_a_wider_interval():
    same = np.tile([[0.0, 1.0] * 20], (4, 1))
    apart = np.repeat([[0.0], [1.0], [0.0], [1.0]], 40, axis=1)
    narrow, wide = two_way_bootstrap(same), two_way_bootstrap(apart)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_an_arm_that_never_succeeds_has_an_interval_of_some_width():
    estimate = mean_success({0: {f"s{n}": 0.0 for n in range(160)}, 1: {f"s{n}": 0.0 for n in range(160)}})
    assert estimate.mean == 0.0
    assert estimate.interval[0] == 0.0
    assert 0.01 < estimate.interval[1] < 0.05


def test_a_mean_curve_ends_where_the_shortest_ends():
    xs, ys = mean_curve([[(0, 0), (10, 1)], [(0, 0), (5, 0), (20, 1)]])
    assert xs.tolist() == [0, 5, 10]
    assert ys.tolist() == pytest.approx([0, 0.25, (1 + 1 / 3) / 2])


def a_run(seed, solved, cost=100, **changes):
    values = {
        "seed": seed,
        "cost": cost,
        "teacher_tokens": 0,
        "rollouts": 10,
        "seconds": 1.0,
        "outcomes": {"test": {f"s{n}": float(n < solved) for n in range(4)}},
        "before": {"test_bare_success": 0.25, "test_bare_success_hard": 0.0},
    }
    return RunResult(**{**values, **changes})


def test_a_summary_compares_with_grpo_at_equal_cost_on_one_group():
    chosen = [ARMS["grpo_equal"], ARMS["p2o"]]
    results = {"grpo_equal": [a_run(0, 1), a_run(1, 1)], "p2o": [a_run(0, 4, 300), a_run(1, 3, 500)]}
    groups = {"s0": "easy", "s1": "hard", "s2": "hard", "s3": "hard"}
    theirs, ours = summarize(chosen, results, groups, "hard")
    assert (theirs.success.mean, ours.success.mean) == (0.0, pytest.approx((1 + 2 / 3) / 2))
    assert theirs.difference is None
    assert ours.difference.mean == pytest.approx((1 + 2 / 3) / 2)
    assert ours.groups["easy"].mean == 1.0
    assert (ours.before, ours.cost) == (0.0, 400)
    assert [run["outcomes"]["test"] for run in ours.runs] == ["1111", "1110"]
    rows = rows_of([theirs, ours], "grpo_equal", "hard")
    assert rows[2][0] == "p2o"
    assert "+83.3" in rows[2][rows[0].index("minus grpo_equal (95 %)")]
    assert all(line.count("|") == len(rows[0]) + 1 for line in table(rows[0], rows[1:]).splitlines())


def test_bad_options_are_told_before_anything_is_trained(tmp_path, capsys):
    out = str(tmp_path / "c")
    no_test = tmp_path / "r.yaml"
    no_test.write_text("base: quickstart\ntest: null\n")
    for command, said in [
        (["quickstart", "--arms", "grpoo"], "there is no arm 'grpoo'"),
        (["quickstart", "--seeds", "0"], "at least 1"),
        (["quickstart", "--group", "medium"], "['easy', 'hard']"),
        (["quickstart", "--budget", "cost=x"], "--budget"),
        ([str(no_test)], "names no test data"),
        (["quickstart", "--lerning_rate", "1"], "did you mean --learning_rate"),
    ]:
        assert main(["compare", *command, "--out", out]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_arms_are_in_the_table_in_the_order_asked_for():
    names = ["p2o", "grpo_equal", "grpo"]
    results = {name: [a_run(0, 2)] for name in names}
    rows = rows_of(summarize([ARMS[n] for n in names], results, {}, None), "grpo_equal", None)
    assert [row[0] for row in itertools.islice(rows, 1, None)] == names
