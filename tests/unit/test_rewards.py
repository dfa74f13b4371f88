"""Rewards: which answers count, what the feedback says, and how functions of others are used."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.core.samples import Sample
from p2o.data import load_samples
from p2o.errors import DataError, RewardError
from p2o.rewards import (
    GYM_RULE,
    RULES,
    RewardSet,
    Score,
    check_gold,
    last_boxed,
    last_number,
    number,
    resolve_reward,
)


def sample(answer: str | None = "42", **columns: Any) -> Sample:
    return Sample("s1", [{"role": "user", "content": "What?"}], answer, columns)


def one(spec: Any, completion: str, gold: str = "42", **columns: Any) -> Score:
    return resolve_reward(spec, deadline=30).score([completion], [sample(gold, **columns)])[0]


# Finding answers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so 12 apples and 1,234.50.", "1,234.50"),
        ("10-3", "3"),
        ("it is -3", "-3"),
        ("(-7)", "-7"),
        ("f(x)-3", "3"),
        ("x = −5", "−5"),
        ("about .5", ".5"),
        ("1,23", "23"),
        ("the end.", None),
        ("", None),
    ],
)
def test_last_number(text: str, found: str | None) -> None:
    assert last_number(text) == found


WORDS = st.text(st.characters(categories=["Ll", "Zs"]), max_size=20)


@settings(max_examples=100, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.booleans(), WORDS, WORDS)
def test_any_number_is_found_at_its_value(value: Decimal, commas: bool, before: str, after: str) -> None:
    text = f"{value:,f}" if commas else f"{value:f}"
    found = last_number(f"{before} {text} {after}.")
    assert found is not None
    assert number(found) == value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{5} and \boxed{6", "5"),
        (r"} { \boxed {7}", "7"),
        (r"\boxed{\boxed{8}}", "8"),
        (r"\boxed{}", None),
        ("none", None),
    ],
)
def test_last_boxed(text: str, found: str | None) -> None:
    assert last_boxed(text) == found


@settings(max_examples=100, deadline=None)
@given(st.text("{}\\boxed 1", max_size=60))
def test_last_boxed_never_fails(text: str) -> None:
    last_boxed(text)


def test_pathological_completions_do_not_take_long() -> None:
    for text in (r"\boxed{" * 20_000, "1" * 100_000, "111," * 20_000 + "1111", "-" * 100_000):
        assert one("boxed", text).reward == 0
        assert one("last_number", text).reward == 0


# Built-in rewards


@pytest.mark.parametrize(
    ("spec", "completion", "gold", "reward"),
    [
        ("boxed", r"so \boxed{42}", "42", 1),
        ("boxed", r"so \boxed{42.0}", "42", 1),
        ("boxed", r"so \boxed{\frac{84}{2}}", "42", 1),
        ("boxed", r"so \boxed{41}", "42", 0),
        ("boxed", "so 42", "42", 0),
        ("boxed", r"\boxed{\dfrac{1}{2}}", r"\frac12", 1),
        ("last_number", "= 1,042", "1042", 1),
        ("last_number", "42 or 43", "42", 0),
        ("last_number", "42.00", "42", 1),
        ("exact", " Paris\n", "Paris", 1),
        ("exact", "It is Paris", "Paris", 0),
        ("math", "The answer is $\\frac{1}{2}$.", "0.5", 1),
        ("math", "no idea", "0.5", 0),
    ],
)
def test_builtin_rules(spec: str, completion: str, gold: str, reward: float) -> None:
    assert one(spec, completion, gold).reward == reward


def test_feedback_tells_format_answer_and_reward() -> None:
    assert one("boxed", "42").feedback == "Wrong format: the answer must be given inside \\boxed{}. Reward: 0."
    assert one("boxed", r"\boxed{41}").feedback == "Wrong answer: 41. The right answer is 42. Reward: 0."
    assert one("boxed", r"\boxed{42}").feedback == "Right answer: 42. Reward: 1."
    assert "cannot be read as mathematics" in one("boxed", r"\boxed{???}").feedback
    assert one("math", "no idea").feedback.startswith("Wrong format: ")


def test_a_check_that_hangs_is_wrong_and_said_so() -> None:
    reward = resolve_reward("boxed", deadline=0.5)
    hanging, right = reward.score([r"\boxed{9^{9^{9}}}", r"\boxed{\frac{84}{2}}"], [sample(), sample()])
    assert hanging.reward == 0
    assert "could not be checked within 0.5 s" in hanging.feedback
    assert right.reward == 1
    assert RewardSet([reward]).counts()["timeout"] >= 1


EVIL = [
    ("(a+)+$", "a" * 40 + "b"),
    ("(a|a)*$", "a" * 40 + "b"),
    ("(.*)*x", "y" * 40),
    ("(?:(a*)*)*b", "a" * 40),
]


@pytest.mark.parametrize(("pattern", "text"), EVIL)
@pytest.mark.parametrize("name", ["mine", "reasoning_gym"])
@pytest.mark.parametrize("compare", ["text", "number", "math"])
def test_a_pattern_that_never_ends_is_stopped(pattern: str, text: str, name: str, compare: str) -> None:
    if name == "reasoning_gym" and compare != "text":
        return
    reward = resolve_reward({"name": name, "pattern": pattern, "compare": compare}, deadline=0.5)
    before = RewardSet([reward]).counts()["timeout"]
    start = time.monotonic()
    (score,) = reward.score([text], [sample("b")])
    assert time.monotonic() - start < 0.5 + 2
    assert score.reward == 0
    assert "the search for it took more than 0.5 s" in score.feedback
    assert RewardSet([reward]).counts()["timeout"] == before + 1


def test_what_is_searched_in_this_process_takes_linear_time() -> None:
    """The built-in rules; patterns go to processes with a deadline, that of reasoning-gym too."""
    for rule in RULES.values():
        assert callable(rule.extract)
    assert isinstance(GYM_RULE.extract, str)
    start = time.monotonic()
    for text in ("<answer>" * 20_000, r"\boxed{" * 50_000, "1," * 200_000, "\\" * 400_000):
        for rule in RULES.values():
            rule.find([text], 5)
    assert time.monotonic() - start < 5


def test_a_custom_format_is_compared_as_told() -> None:
    spec = {
        "name": "tagged",
        "pattern": "<a>(.*?)</a>",
        "describe": "the answer must stand between <a> and </a>",
    }
    assert one(spec, "<a>41</a> <a>\n42 </a>").reward == 1
    assert one(spec, "<a>42.0</a>").reward == 0
    assert one({**spec, "compare": "number"}, "<a>x = 42.0</a>").reward == 1
    assert one({**spec, "compare": "math"}, "<a>\\frac{84}{2}</a>").reward == 1
    assert one(spec, "42").feedback == "Wrong format: the answer must stand between <a> and </a>. Reward: 0."


def test_one_of_several_right_answers_is_enough() -> None:
    assert one("boxed", r"\boxed{7}", "42", right_answers=["42", "7"]).reward == 1
    assert one("exact", "7", "42", right_answers=["42", "7"]).reward == 1


def test_a_sample_without_an_answer_is_refused() -> None:
    with pytest.raises(RewardError, match="needs an answer, and sample 's1' has none"):
        resolve_reward("exact").score(["x"], [sample(None)])


def test_check_gold_names_the_sample() -> None:
    good = Sample("good", [], "\\frac12")
    check_gold([good])
    with pytest.raises(DataError, match=r"'\?\?\?' of sample 'bad' cannot be read as mathematics \(1 of 2"):
        check_gold([good, Sample("bad", [], "???")])
    with pytest.raises(DataError, match="sample 'good' cannot be read as a number"):
        RewardSet([resolve_reward("last_number")]).check_gold([good])
    check_gold([Sample("bad", [], "???")], compare="text")


def test_reasoning_gym_scores_with_its_own_scorer() -> None:
    (task,) = load_samples("reasoning_gym:chain_sum?size=1")
    reward = resolve_reward("reasoning_gym", deadline=60)
    right, wrong, bare = reward.score(
        [f"<answer>{task.answer}.0</answer>", "<answer>17 apples</answer>", str(task.answer)], [task] * 3
    )
    assert right.reward == 1.0
    assert wrong.reward is not None
    assert wrong.reward < 1
    assert f"The right answer is {task.answer}." in wrong.feedback
    assert bare == Score(0.0, "Wrong format: the answer must be given between <answer> and </answer>. Reward: 0.")
    boxed = resolve_reward({"name": "reasoning_gym", "extract": "boxed"}, deadline=60)
    assert boxed.score([f"\\boxed{{{task.answer}}}"], [task])[0].reward == 1.0
    with pytest.raises(RewardError, match="sample 's1' is not one"):
        reward.score(["<answer>1</answer>"], [sample()])


# Rewards by name


def test_functions_by_name(tmp_path: Path) -> None:
    file = tmp_path / "my_rewards.py"
    file.write_text("def length(completions, **_):\n    return [len(c[0]['content']) for c in completions]\n")
    reward = resolve_reward(f"{file}:length")
    assert reward.name == "length"
    assert reward.score(["abc"], [sample()])[0].reward == 3.0
    assert resolve_reward("math:fsum").name == "fsum"
    for spec, message in [
        (f"{file}:lenght", "did you mean length"),
        (f"{tmp_path}/none.py:f", "there is no file"),
        ("no_such_module:f", "ModuleNotFoundError"),
        ("boxd", "did you mean boxed"),
        ({"name": "x", "patern": "(a)"}, "no setting 'patern'.*did you mean pattern"),
        ({"name": "x", "pattern": "a"}, "has 0 groups"),
        ({"name": "x", "pattern": "("}, "not a regular expression"),
        ({"name": "x", "extract": "box"}, "did you mean boxed"),
        ({"pattern": "(a)"}, "needs a name"),
    ]:
        with pytest.raises(RewardError, match=message):
            resolve_reward(spec)


def test_trl_rewards_by_name() -> None:
    assert one("trl:think_format_reward", "<think>a</think>b").reward == 1.0
    assert one("trl:accuracy_reward", r"\boxed{42}").reward == 1.0
    with pytest.raises(RewardError, match="did you mean accuracy_reward"):
        resolve_reward("trl:acuracy_reward")
