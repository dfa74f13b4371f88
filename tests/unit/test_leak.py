"""The leak guard: what is refused, what is only kept from its samples, what is honest."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve import LeakConfig, LeakGuard, leaks_answer
from p2o.core.evolve.leak import tokens
from p2o.core.evolve.number_words import spell
from p2o.core.samples import Sample


def sample(answer: str | None, question: str = "A riddle?", **columns: object) -> Sample:
    return Sample("s", [{"role": "user", "content": question}], answer, columns)


@pytest.mark.parametrize(
    ("template", "answer", "leaks"),
    [
        ("Use 12.", "12", True),
        ("It is 12/5.", "12", True),
        ("It is 120.", "12", False),
        ("It is 3.12.", "12", False),
        ("The total is 1,234!", "1234", True),
        ("The total is 1{,}234", "1234", True),
        ("007 it is", "7", True),
        ("It is 2.50", "2.5", True),
        ("say forty-two", "42", True),
        ("say Four Hundred and Two", "402", True),
        ("one step at a time", "1", False),
        ("Step 1: read.", "1", True),
        ("It is \\dfrac{3}{4}.", "\\frac{3}{4}", True),
        ("It is 3/4.", "\\frac{3}{4}", True),
        ("It is 3 of 4.", "\\frac{3}{4}", False),
        ("Pick (B).", "B", True),
        ("Be bold.", "B", False),
        ("A good plan.", "A", False),
        ("Pick A.", "A", True),
        ("Answer yes or no.", "yes", True),
        ("It was yesterday.", "yes", False),
        ("Think of PARIS now", "Paris", True),
        ("It is 42", "We add. 40 + 2 #### 42", True),
        ("It is 42", "so $\\boxed{42}$", True),
        ("Whatever", None, False),
        ("", "12", False),
        ("２３ it is", "23", True),  # full-width digits
    ],
)
def test_answers_of_whatever_length(template: str, answer: str | None, leaks: bool) -> None:
    assert leaks_answer(template, sample(answer)) is leaks


@given(st.integers(0, 10**6), st.text(alphabet="ab .,\n"), st.text(alphabet="ab .,\n"))
def test_a_number_of_its_own_is_always_found(n: int, before: str, after: str) -> None:
    assert leaks_answer(f"{before} {n} {after}", sample(str(n)))
    assert not leaks_answer(f"{before} 9{n}9 {after}", sample(str(n)))


@given(st.integers(13, 10**9))
def test_a_spelled_number_is_always_found(n: int) -> None:
    assert leaks_answer("The result: " + " ".join(spell(n)).capitalize() + ".", sample(str(n)))


def test_spelling() -> None:
    assert " ".join(spell(1_002_345)) == "one million two thousand three hundred forty five"
    assert spell(0) == ["zero"]


QUESTION = "A farmer has 17 sheep and buys 25 more at the market on Tuesday; how many sheep does he have in all now?"
SOLUTION = "He starts with the flock he owns, then he adds those from the market, so he counts both groups together."
BOX = "Answer in a box, please, and nothing else at all."
HARD = [
    sample("4217", QUESTION, solution=SOLUTION),
    sample("42", "What is 17 + 25?"),
    *(sample(str(i * 111), f"Compute {i}07 + {i + 15}. {BOX}") for i in range(31, 40)),
]
GUARD = LeakGuard(HARD)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("The answer is 4217.", "'4217'"),
        ("The answer is 4,217.", "'4217'"),
        ("It is four thousand two hundred and seventeen.", "in words"),
        ("It is forty-two hundred seventeen.", "in words"),
        ("It is four two one seven.", "in words"),
        (f"Example: {QUESTION} Do it like that.", "copies"),
        ("Like: buys 25 more, at the MARKET on Tuesday: how many sheep does he have?", "copies"),
        (f"Work so: {SOLUTION}", "copies"),
        ("What is 17 + 25? Add.", "copies"),
        ("Compute 3507 + 50 so.", "copies"),
        ("Answers: 3441, 3552.", "'3552'"),
        ("1: A, 2: C, 3: B, 4: D", "table"),
    ],
)
def test_refused(template: str, why: str) -> None:
    reason = GUARD.refuse(template)
    assert reason is not None
    assert why in reason


@pytest.mark.parametrize(
    "template",
    [
        "Step 1: read. Step 2: add. Step 3: check.",
        "Use at most 100 words.",
        "Answer in a box, please, and nothing else at all.",  # the data set's own wording
        "Add 2 and 2 first.",
        "",
    ],
)
def test_honest(template: str) -> None:
    assert GUARD.refuse(template) is None


def test_short_answers_refuse_only_as_a_table() -> None:
    guard = LeakGuard([sample(str(a), f"q {a} {a}") for a in (27, 58, 61)])
    assert guard.refuse("Say 27.") is None
    assert guard.refuse("Say 27, 58 or 61.") == "holds a table of answers"
    assert LeakGuard([sample("27")], LeakConfig(answer_chars=1)).refuse("Say 27.") is not None


def test_no_samples_and_odd_samples() -> None:
    assert LeakGuard([]).refuse("anything at all 12") is None
    assert LeakGuard([sample(""), sample(None), sample("$"), sample(" ", "")]).refuse("anything") is None


def test_tokens_forget_form() -> None:
    assert tokens("Step-by-step: 1,000.50 − $x\\cdot y$") == (
        "step",
        "by",
        "step",
        "1000.5",
        "-",
        "x",
        "*",
        "y",
    )


def test_the_benchmark_keeps_its_bars() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "leak_guard.py"
    spec = importlib.util.spec_from_file_location("leak_guard", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.measure()
    assert result["passed"], result
