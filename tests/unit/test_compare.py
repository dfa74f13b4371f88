"""Arms, paired intervals, curves and the table of a comparison."""

import itertools
import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.analysis.compare.arms import ARMS, P2O_IN_ALL, arms_of, given_to, is_equalled, method_sources, settings_of
from p2o.analysis.compare.command import budget_settings, claim_folder
from p2o.analysis.compare.figure import mean_curve
from p2o.analysis.compare.results import RunResult, trained_result
from p2o.analysis.compare.summary import ranks, summarize
from p2o.analysis.compare.table import notes_of, rows_of
from p2o.analysis.statistics import mean_success, paired_difference, two_way_bootstrap
from p2o.base.files import write_json
from p2o.base.markdown import table
from p2o.cli.main import main
from p2o.core.epoch_files import write_epoch
from p2o.core.evolve.selection import draw_parents
from p2o.core.summary import EpochSummary
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


def test_arms_keep_their_order_and_equal_cost_needs_something_to_equal():
    recipe = load_recipe("quickstart")
    assert [a.name for a in arms_of(recipe, ["grpo_equal", "p2o", "grpo"])] == ["grpo_equal", "p2o", "grpo"]
    with pytest.raises(ConfigError, match="what another method cost"):
        arms_of(recipe, ["grpo_equal", "grpo"])


METHOD = '''
from p2o.core.methods import Method

class Hint(Method):
    """Puts a hint in front of every rollout."""

    def prompts(self, sample_id):
        return ["Think."] * self.group_size

class NoMethod:
    pass
'''


@pytest.fixture
def hint(tmp_path):
    path = tmp_path / "hint.py"
    path.write_text(METHOD)
    return path


def test_a_method_of_the_user_is_an_arm(hint):
    spec = f"{hint}:Hint"
    recipe = load_recipe("quickstart", ["--arms", json.dumps({"hinted": {"method": spec, "tau": 1}})])
    direct, named, equal = arms_of(recipe, [spec, "hinted", "grpo_equal"])
    assert (direct.name, direct.settings) == ("Hint", {"method": spec})
    assert direct.what.endswith("Puts a hint in front of every rollout.")
    assert (named.name, named.settings) == ("hinted", {"method": spec, "tau": 1})
    assert [is_equalled(arm) for arm in (direct, named, equal)] == [True, True, False]
    assert load_recipe("quickstart", [f"--method={spec}"]).training.method == spec


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["{file}:Hints"], "has no class 'Hints'"),
        (["{file}:NoMethod"], "is not a method"),
        (["nowhere.py:Hint"], "there is no file nowhere.py"),
        (["{file}:Hint", "{file2}:Hint"], "two arms are named Hint"),
        (["../out"], "need a folder of that name"),
        (["broken"], "there is no file nowhere.py"),
    ],
)
def test_an_arm_that_cannot_run_is_told_before_anything_is_trained(hint, names, said):
    other = hint.with_name("other.py")
    other.write_text(METHOD)
    arms = {"../out": {"tau": 1}, "broken": {"method": "nowhere.py:Hint"}}
    recipe = load_recipe("quickstart", ["--arms", json.dumps(arms)] if names[0] in arms else [])
    with pytest.raises(ConfigError, match=said):
        arms_of(recipe, [name.format(file=hint, file2=other) for name in names])


def test_a_method_whose_file_changed_is_another_comparison(hint, tmp_path):
    recipe, folder = load_recipe("quickstart"), tmp_path / "out"
    (arm,) = arms_of(recipe, [f"{hint}:Hint"])
    claim_folder(folder, recipe, {}, method_sources(recipe.training.method, [arm]))
    claim_folder(folder, recipe, {}, method_sources(recipe.training.method, [arm]))
    hint.write_text(METHOD.replace("Think.", "Think hard."))
    claim_folder(folder, recipe, {}, method_sources(recipe.training.method, [ARMS["p2o"]]))
    with pytest.raises(ConfigError, match=r"the file of .*hint.py:Hint differ"):
        claim_folder(folder, recipe, {}, method_sources(recipe.training.method, [arm]))


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
        "outcomes_before": {"test": {f"s{n}": float(n < 1) for n in range(4)}},
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


def test_a_loss_stands_beside_the_table(tmp_path):
    lost = {"test": {"s0": 0.0, "s1": 1.0, "s2": 1.0, "s3": 1.0}}
    results = {"grpo": [a_run(0, 1)], "p2o": [a_run(0, 4, outcomes=lost, no_room={"test": 0.25})]}
    groups = {"s0": "easy", "s1": "hard", "s2": "hard", "s3": "hard"}
    grpo, p2o = summarize([ARMS["grpo"], ARMS["p2o"]], results, groups, "hard")
    assert p2o.changes["easy"].mean == -1.0
    rows = rows_of([grpo, p2o], "grpo", "hard")
    column = rows[0].index("easy")
    assert [row[column] for row in rows[1:]] == ["100.0 % (+0.0)", "0.0 % (-100.0)"]
    notes = notes_of([grpo, p2o], "hard")
    assert [note for note in notes if "lost" in note] == [f"p2o lost on easy: {notes[0].split(': ')[1]}"]
    assert notes[0].startswith("p2o lost on easy: -100.0 [")
    assert notes[-1].startswith("25.0 % of the test prompts leave no room")


def test_what_was_not_measured_is_a_dash():
    results = {"prompt_only": [a_run(0, 1, before={}, outcomes_before={})], "p2o": [a_run(0, 4)]}
    rows = rows_of(summarize([ARMS["prompt_only"], ARMS["p2o"]], results, {}, None), None, None)
    assert rows[1][rows[0].index("before")] == "–"
    assert summarize([ARMS["prompt_only"]], results, {}, None)[0].changes == {}


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([(0.1, 0.2), (0.8, 0.9), (0.3, 0.5)], ["3", "1", "2"]),
        ([(0.1, 0.4), (0.8, 0.9), (0.3, 0.5)], ["2–3", "1", "2–3"]),
        ([(0.1, 0.4), (0.3, 0.6), (0.5, 0.9)], ["2–3", "1–3", "1–2"]),  # neighbours overlap, the ends do not
        ([(0.0, 1.0)], ["1"]),
    ],
)
def test_a_rank_is_given_only_where_no_other_interval_overlaps(intervals, expected):
    assert ranks(intervals) == expected


def test_the_table_says_what_was_given_where_the_cost_went_and_what_is_relied_on():
    drawn = {"draws": 8, "solved": {"test": {"s0": 8, "s1": 1, "s2": 0, "s3": 0}}}
    own = {"phases": {"rollout": 30, "train": 50, "evolve": 20}, **drawn}
    runs = [replace(a_run(0, 4), reliance=0.25, **own), replace(a_run(1, 4), **own)]
    results = {"p2o": runs, "grpo": [a_run(0, 1)]}
    arms = summarize([ARMS["p2o"], ARMS["grpo"]], results, {}, None, {"p2o": "feedback", "grpo": "nothing"})
    header, p2o, grpo = rows_of(arms, None, None)
    cell = dict(zip(header, p2o, strict=True))
    assert (cell["given"], cell["hint reliance"]) == ("feedback", "+25")
    assert cell["cost by phase"] == "train 50 %, rollout 30 %, evolve 20 %"
    assert cell["pass@8 (95 %)"].startswith("50.0 %")  # two of the four samples have a right draw among their eight
    bare = dict(zip(header, grpo, strict=True))
    assert (bare["given"], bare["hint reliance"], bare["pass@8 (95 %)"], bare["cost by phase"]) == (
        "nothing", "–", "–", "–",
    )  # fmt: skip


def test_a_run_tells_its_phases_its_draws_and_its_hint_reliance(tmp_path):
    own = tmp_path / "p2o"
    own.mkdir()
    phase = {"cost": 60, "teacher_tokens": 0, "seconds": 1.0}
    cost = {"rollout": phase, "train": {**phase, "cost": 0}, "evaluate": phase}
    cost |= {"training_cost": 60, "training_rollouts": 7}
    result = {"cost": cost, "outcomes": {}, "before": {}, "after": {}, "draws": 4, "solved": {"test": {"s0": 2}}}
    write_json(own / "result.json", result)
    for number, pair in enumerate([(0.9, 0.5), (None, None)]):
        summary = EpochSummary(number, paired_templated_success=pair[0], paired_bare_success=pair[1])
        write_epoch(own, summary, {}, [], {})
    run = trained_result(tmp_path, 0, None)
    assert (run.phases, run.draws, run.solved) == ({"rollout": 60}, 4, {"test": {"s0": 2}})
    assert run.reliance == pytest.approx(0.4)


def test_what_an_arm_is_given_follows_from_its_method_and_its_reflector(hint):
    def given(name, *words):
        recipe = load_recipe("quickstart", words)
        training = recipe.training
        return given_to(arms_of(recipe, [name])[0], training.method, recipe.task.reflector, training.template_worth)

    assert [given(name) for name in ("grpo", "dapo", "zvp", "knapsack", "review")] == ["nothing"] * 5
    assert given(f"{hint}:Hint") == "not said"
    assert given("p2o") == given("prompt_only") == "a bank of phrases"
    assert given("p2o", "--reflector=policy") == "feedback"
    assert given("p2o", "--reflector=openai", "--reflector_model=big") == "feedback, a teacher"
    assert given("p2o", f"--reflector={hint}:write") == "feedback, a reflector of your own"
    assert given("smollm2_own", "--arms={smollm2_own: {template_worth: solution}}") == "a bank of phrases, solutions"
    assert given("grpo", "--template_worth=solution") == "nothing"


def test_the_arms_are_described(capsys):
    assert main(["compare", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ARMS)


def test_pairs_are_of_the_samples_that_both_have():
    ours, theirs = {0: {"a": 1.0, "b": 0.0}}, {0: {"b": 1.0, "c": 0.0}}
    assert (paired_difference(ours, theirs).mean, paired_difference(ours, theirs).samples) == (-1.0, 1)
    assert paired_difference(ours, {0: {"c": 1.0}}) is None
    assert paired_difference(ours, {1: {"a": 1.0}}) is None


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


@pytest.mark.parametrize(
    ("tokens", "unmeasured", "cell"), [(0, 0, None), (900, 0, "900"), (0, 3, "not measured"), (900, 3, "at least 900")]
)
def test_tokens_that_nobody_reported_are_not_shown_as_none_spent(tokens, unmeasured, cell):
    run = a_run(0, 1, teacher_tokens=tokens, unmeasured_replies=unmeasured)
    rows = rows_of(summarize([ARMS["p2o"]], {"p2o": [run]}, {}, None), None, None)
    assert (rows[1][rows[0].index("teacher tokens")] if "teacher tokens" in rows[0] else None) == cell
