"""The leak guard: what is refused, what is only kept from its samples, what is honest."""

from __future__ import annotations

import importlib
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve import HeldAnswers, LeakConfig, LeakGuard, leaks_answer
from p2o.core.evolve.leak.answers import _read_answer, read_answer
from p2o.core.evolve.leak.characters import fold
from p2o.core.evolve.leak.holders import Holders
from p2o.core.evolve.leak.latex import plain
from p2o.core.evolve.leak.tokens import tokens
from p2o.core.samples import Sample

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


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
        ("It is 7 - 5", "-5", True),
        ("It is 5", "-5", False),
        ("minus five, that is -5", "-5", True),
        ("one step at a time", "1", False),
        ("Step 1: read.", "1", True),
        ("It is \\dfrac{3}{4}.", "\\frac{3}{4}", True),
        ("It is 3/4.", "\\frac{3}{4}", True),
        ("It is 3 of 4.", "\\frac{3}{4}", False),
        ("Pick (B).", "B", True),
        ("Pick B.", "(B)", True),
        ("Pick B.", "\\text{(B)}", True),
        ("Pick B.", "(B) 12", True),
        ("It is 12.", "(B) 12", False),
        ("It is (B) 12.", "(B) 12", True),
        ("Be bold.", "B", False),
        ("A good plan.", "A", False),
        ("Pick A.", "A", True),
        ("Write A in the box.", "A", True),
        ("Answer with A, B, C or D.", "B", False),  # who names every choice gives none away
        ("One of (A), (B), (C) and (D).", "A", False),
        ("From A to D.", "A", False),
        ("A, B, C, D, B", "B", True),
        ("Answer yes or no.", "yes", False),
        ("true/false", "false", False),
        ("Answer yes.", "yes", True),
        ("It was yesterday.", "yes", False),
        ("Think of PARIS now", "Paris", True),
        ("Think of P-a-r-i-s now", "Paris", True),
        ("It is 42", "We add. 40 + 2 #### 42", True),
        ("It is 42", "so $\\boxed{42}$", True),
        ("It is 5", "x = 5", True),
        ("It is 5", "5 cm", True),
        ("It is 5", "5x", False),
        ("It is 5x", "5x", True),
        ("It is 3", "2\\sqrt{3}", False),
        ("It is 2√3", "2\\sqrt{3}", True),
        ("It is 2 sqrt(3)", "2\\sqrt{3}", True),
        ("\\frac12 x + 1", "0.5x+1", True),
        ("(−∞, 3]", "(-\\infty,3]", True),
        ("Whatever", None, False),
        ("", "12", False),
        ("２３ it is", "23", True),  # full-width digits
        ("٢٣ it is", "23", True),  # Arabic digits
    ],
)
def test_answers_of_whatever_length(template: str, answer: str | None, leaks: bool) -> None:
    assert leaks_answer(template, sample(answer)) is leaks


@pytest.mark.parametrize(
    ("answer", "forms"),
    [
        ("4217", ["4 2 1 7", "4.2.1.7", "4_2_1_7", "4\\,2\\,1\\,7", "4, 2, 1, 7", "4-2-1-7", "{4}{2}{1}{7}"]),
        ("4217", ["4 217", "4.217", "4_217", "4'217", "4\\,217", "4\u202f217", "4·2·1·7", "42 17"]),
        ("4217", ["4\u200b2\u200b1\u200b7", "4\u00ad217", "42\u206017", "4\ufeff217", "4️⃣2️⃣1️⃣7️⃣", "④②①⑦"]),
        ("4217", ["four thousand two hundred and seventeen", "forty-two hundred seventeen", "four two one seven"]),
        ("4217", ["4.217e3", "4.217 \\times 10^3", "4.217 thousand", "-4217", "4217%", "4217th"]),
        ("1\\,234", ["1234", "1,234", "1 234", "1.234"]),
        ("1 234", ["1234"]),
        (
            "0.5",
            ["1/2", "½", "\\frac12", "\\frac{1}{2}", "{1 \\over 2}", "$1\\over2$", "50%", "50 %", "50\\%", "0,5", ".5"],
        ),
        ("\\frac12", ["0.5", "0.50", "2/4", "fifty percent", "one half", "zero point five", "5/10"]),
        ("\\frac13", ["0.333", "0.3333", "33.33%", "1 / 3", "one third"]),
        ("{7 \\over 4}", ["1.75", "1 3/4", "1\\frac{3}{4}", "1¾", "175%"]),
        ("-\\frac{7}{6}", ["\\frac{-7}{6}", "{-7 \\over 6}", "-7/6", "−7/6", "-1.1667"]),
        ("25%", ["0.25", "1/4", "25 percent", "25"]),
        ("90^\\circ", ["90°", "90 degrees", "90", "90^{\\circ}"]),
        ("90°", ["90^\\circ"]),
    ],
)
def test_a_number_is_found_in_every_form(answer: str, forms: list[str]) -> None:
    for form in forms:
        assert leaks_answer(f"It is {form}, they say.", sample(answer)), form


def test_every_right_answer_counts() -> None:
    several = sample("Paris", right_answers=["Paris", "City of Light", "0.5"])
    for template in ("It is Paris.", "The city of light.", "It is 50 %."):
        assert leaks_answer(template, several)
    assert not leaks_answer("It is Rome.", several)


@given(st.integers(0, 10**6), st.text(alphabet="ab .,\n"), st.text(alphabet="ab .,\n"))
def test_a_number_of_its_own_is_always_found(n: int, before: str, after: str) -> None:
    assert leaks_answer(f"{before} {n} {after}", sample(str(n)))
    assert not leaks_answer(f"{before} 9{n}9 {after}", sample(str(n)))


@given(st.integers(10, 10**9), st.sampled_from([" ", ".", "_", "\\,", "\u200b", "\u00ad", ", ", "-", "/"]))
def test_signs_between_its_digits_hide_no_number(n: int, sign: str) -> None:
    if len(str(n)) > 2 or sign not in (", ", "-", "/"):  # "4-2" and "4/2" are sums of their own
        assert leaks_answer(f"Take {sign.join(str(n))}.", sample(str(n)))


FRACTIONS = st.fractions(max_denominator=40).filter(lambda x: abs(x) < 1000)
FORMS = (
    str,
    lambda x: f"\\frac{{{x.numerator}}}{{{x.denominator}}}",
    lambda x: f"{{{x.numerator} \\over {x.denominator}}}",
    lambda x: f"${3 * x.numerator}/{3 * x.denominator}$",
    lambda x: f"x = {x}",
    lambda x: str(float(x)) if 10**6 % x.denominator == 0 and abs(x) > 1e-4 else str(x),
)


@given(FRACTIONS, FRACTIONS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_forms_are_equal_when_their_numbers_are(a: Fraction, b: Fraction, form, other) -> None:
    assert read_answer(form(a)).value == (str(a),)
    assert (read_answer(form(a)).value == read_answer(other(b)).value) is (a == b)
    assert leaks_answer(f"so {other(a)} is it", sample(form(a)))


@given(st.text())
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet="ab12 .,/%-^\\{}$_frac\u00ad½×"))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert tokens(plain(text)) == tokens(text)


@given(st.text(alphabet="abc xyz019.,"), st.sampled_from("\u200b\u200c\u2060\ufeff\u00ad\u034f\ufe0f\u3164"))
def test_what_cannot_be_seen_changes_nothing(text: str, unseen: str) -> None:
    assert fold(unseen.join(text)) == fold(text)


def test_look_alikes_are_latin() -> None:
    assert fold("Тһе fаrmеr ｈаѕ ѕһееρ, 𝐬𝐨 𝚍𝚘 ℍ") == "The farmer has sheep, so do H"
    assert fold("Где где") == "Rдe rдe"  # both cases of a letter stay one letter


def test_tokens_forget_form() -> None:
    assert tokens("Step-by-step: 1,000.50 − $x\\cdot y$") == (
        "step", "by", "step", "2001", "/", "2", "-", "x", "*", "y",
    )  # fmt: skip
    assert tokens("\\frac{x+1}{2}") == tokens("{x+1 \\over 2}") == tokens("(x+1)/2")
    assert tokens("\\frac{\\sqrt{3}}{2}") == tokens("√3/2") == tokens("sqrt(3) / 2")


QUESTION = "A farmer has 17 sheep and buys 25 more at the market on Tuesday; how many sheep does he have in all now?"
SOLUTION = "He starts with the flock he owns, then he adds those from the market, so he counts both groups together."
BOX = "Answer in a box, please, and nothing else at all."
HARD = [
    sample("4217", QUESTION, solution=SOLUTION),
    sample("42", "What is 17 + 25?"),
    *(sample(str(i * 111), f"Compute {i}07 + {i + 15}. {BOX}") for i in range(31, 40)),
]
GUARD = LeakGuard(HARD)
UNSEEN = "\u200b"
CHANGED = (
    "The farmer has 17 goats and buys 25 yesterday at the market in Tuesday; how many hens does he have today all now?"
)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("The answer is 4217.", "'4217'"),
        ("The answer is 4,217.", "'4217'"),
        ("The answer is 4 2 1 7.", "'4217'"),
        ("It is four thousand two hundred and seventeen.", "in words"),
        ("It is forty-two hundred seventeen.", "in words"),
        ("It is four two one seven.", "in words"),
        ("Answers: 3441, 3552.", "'3552'"),
        (f"Example: {QUESTION} Do it like that.", "copies"),
        (UNSEEN.join(f"Example: {QUESTION} Do it like that."), "copies"),
        (f"Example: {QUESTION.translate(str.maketrans('aeoc', 'аеос'))}", "copies"),
        (f"Example: {CHANGED} Do it like that.", "copies"),
        ("Like: A farmer has 17 sheep and buys 25 more at the market.", "copies"),
        ("Like: buys 25 more, at the MARKET on Tuesday: how many sheep does he have?", "copies"),
        (f"Work so: {SOLUTION}", "copies"),
        ("What is 17 + 25? Add.", "copies"),
        ("Compute 3507 + 50 so.", "copies"),
        ("Answers: 3441, 3552, 3663.", "table"),
        ("Say 3441, 111, 3552, 222, 3663.", "table"),
        ("It is 3 4 4 1 or 3.5.5.2 or 3_663", "table"),
        ("1: A, 2: C, 3: B, 4: D", "table"),
        ("1. A 2. C 3. B 4. D", "table"),
        ("Answers: B, C, A, D, B", "table"),
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
        "The answer is 42.",  # only kept from its sample
        "1: A, 2: B, 3: C, 4: D",  # all choices, in order
        "Answer with A, B, C or D.",
        "",
    ],
)
def test_honest(template: str) -> None:
    assert GUARD.refuse(template) is None


FORM = (
    "{} keeps {} {} in the {} and finds {} more on Monday. A week later {} brings {} times as many {} as that. "
    "How many {} do {} and {} have together in the end?"
)


NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jo",
    "Kim",
    "Lea",
    "Max",
    "Nora",
    "Omar",
    "Pia",
    "Quin",
    "Rosa",
]


THINGS = ["apples", "books", "coins", "shells", "stamps", "pens", "cards", "marbles"]
PLACES = ["drawer", "garden", "attic", "cellar", "hall", "box", "harbour", "library"]


def filled_in(n: int) -> str:
    """One of many problems that differ in names and numbers alone."""
    rng = random.Random(n)
    first, second = rng.sample(NAMES, 2)
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    a, b, c = rng.randint(13, 99), rng.randint(12, 80), rng.randint(2, 9)
    return FORM.format(first, a, thing, place, b, second, c, thing, thing, first, second)


def test_of_a_form_the_own_words_of_one_sample_are_its_copy_and_the_others_are_not() -> None:
    guard = LeakGuard([sample(str(1000 + 7 * n), filled_in(n)) for n in range(60)])
    words = [filled_in(n).split() for n in range(60)]
    halves = [" ".join(half) for w in words for half in (w[: len(w) // 2], w[len(w) // 2 :])]
    changed = [" ".join("yellow" if i % 4 == 1 else word for i, word in enumerate(w)) for w in words]
    for leaks in (halves, changed):
        assert sum(guard.refuse(f"Like: {leak} Check it.") is not None for leak in leaks) >= 0.95 * len(leaks)
    fresh = [guard.refuse(f"Example: {filled_in(n)}") is not None for n in range(1000, 1200)]
    assert sum(fresh) <= 0.2 * len(fresh)


def test_half_of_a_short_problem_is_nobodys() -> None:
    """Half of "What is 59 + 51?" is one number of two digits, which any worked example may hold."""
    rng = random.Random(0)
    guard = LeakGuard(
        [sample(str(1000 + 7 * n), f"What is {rng.randint(10, 99)} + {rng.randint(10, 99)}?") for n in range(60)]
    )
    assert guard.refuse("Example: What is 59 + 18? Add the ones first.") is None


def test_a_usual_number_is_no_proof() -> None:
    rounds = LeakGuard([sample(str(n), f"q {n}") for n in (10, 20, 50, 60, 100, 200, 300, 500, 1000, 2000, 5000)])
    for template in (
        "1 km has 1000 m, 1 m has 100 cm.",
        "Calculate 20 + 30.\n20 + 30 = 50\n\\boxed{50}",
        "An hour has 60 minutes; 200 minutes are 3 hours and 20 minutes.",
    ):
        assert rounds.refuse(template) is None
    assert leaks_answer("1 km has 1000 m", sample("1000"))


def test_short_answers_refuse_only_as_a_table() -> None:
    guard = LeakGuard([sample(str(a), f"q {a} {a}") for a in (27, 58, 61)])
    assert guard.refuse("Say 27.") is None
    assert guard.refuse("Say 27, 58 or 61.") == "holds a table of answers"
    assert LeakGuard([sample("27")], LeakConfig(chance=0.2)).refuse("Say 27.") is not None


def test_a_name_with_a_number_is_nobody_elses() -> None:
    guard = LeakGuard([sample("room-12"), sample("step-3"), sample("x2")])
    assert guard.refuse("Recall that the key is in Room-12.") == "holds the gold answer 'room-12'"
    for template in ("Take room-1, then room-120.", "After step-3 comes x2.", "The room has 12 chairs."):
        assert guard.refuse(template) is None


def test_chance_depends_on_how_dense_the_answers_lie() -> None:
    template = "With 2713 and 5842 we have 8555; with 616 and 902 that makes 1518."
    assert LeakGuard([sample("2713"), sample("8555")]).refuse(template) is not None
    dense = [sample(str(n)) for n in range(1, 10_000, 2)]
    assert LeakGuard(dense).refuse(template) is None
    assert leaks_answer(template, sample("2713"))


@pytest.mark.parametrize(
    "layout",
    [
        "Known: {}",
        "s1: {}; s2: {}; s3: {}; s4: {}; s5: {}; s6: {}",
        "Task 1: {}\nTask 2: {}\nTask 3: {}\nTask 4: {}\nTask 5: {}\nTask 6: {}",
        "1. {}\n2. {}\n3. {}\n4. {}\n5. {}\n6. {}",
        "| 1 | {} |\n| 2 | {} |\n| 3 | {} |\n| 4 | {} |\n| 5 | {} |\n| 6 | {} |",
        '{{"s1": {}, "s2": {}, "s3": {}, "s4": {}, "s5": {}, "s6": {}}}',
        "**Q1**: \\boxed{{{}}}\n**Q2**: {}\n**Q3**: {}\n**Q4**: {}\n**Q5**: {}\n**Q6**: {}",
        "#1 -> {}; #2 -> {}; #3 -> {}; #4 -> {}; #5 -> {}; #6 -> {}",
        "Answers: {} / {} / {} / {} / {} / {}",
        "The results are\n- {}\n- {}\n- {}\n- {}\n- {}\n- {}",
    ],
)
def test_a_table_of_usual_numbers_is_known_by_its_form(layout: str) -> None:
    numbers = [17, 4, 12, 9, 15, 3]
    guard = LeakGuard([sample(str(n)) for n in range(21)])
    told = layout.format("17, 4, 12, 9, 15, 3, 8, 11" if layout.count("{}") == 1 else numbers[0], *numbers[1:])
    assert guard.refuse(told) == "holds a table of answers"


def test_no_samples_and_odd_samples() -> None:
    assert LeakGuard([]).refuse("anything at all 12") is None
    assert LeakGuard([sample(""), sample(None), sample("$"), sample(" ", "")]).refuse("anything") is None
    assert LeakGuard([sample("9" * 5000)]).refuse("9" * 6000 + " and 1/0, 0/0, 1e99") is not None


@pytest.mark.parametrize(
    "unit", ["{", "\\frac{1}{", "1,", "1 ", "1/2 ", "a: ", "one-", "| a | b |\n", "\\", " ", "A, ", "- "]
)
def test_no_text_takes_long(unit: str) -> None:
    start = time.process_time()
    GUARD.refuse(unit * (8000 // len(unit)))
    assert time.process_time() - start < 2


def test_the_benchmark_keeps_its_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    result = importlib.import_module("leak_guard").measure(sizes=(300,))
    assert result["honest_templates"] >= 200
    assert len(result["honest"]) == 8
    assert result["passed"], result


# --- many samples ----------------------------------------------------------------------------------------------------

ANSWERS = st.one_of(
    st.integers(0, 10**9).map(str),
    st.text(alphabet="0129", min_size=1, max_size=45),
    st.sampled_from(
        ["1/2", "50 %", "0.5", "(B)", "B", "A", "yes", "Rome", "x = 5 cm", "\\frac12", "-7", "#### 12", "??"]
    ),
    st.text(alphabet="ab12 .,/%-", max_size=8),
)


@given(st.lists(st.one_of(ANSWERS, st.text(alphabet="ABab 12.,/%", max_size=20)), max_size=4), st.lists(ANSWERS))
def test_many_samples_and_one_give_the_same_leaks(templates: list[str], answers: list[str]) -> None:
    held = HeldAnswers(templates)
    for answer in answers:
        leaking = held.leaking(sample(answer))
        assert leaking == {t for t in templates if leaks_answer(t, sample(answer))}
    several = sample(None, right_answers=answers)
    assert held.leaking(several) == {t for t in templates if leaks_answer(t, several)}


@given(st.text(alphabet="0123456789", min_size=1, max_size=45))
def test_digits_are_read_as_any_answer_is(digits: str) -> None:
    assert read_answer(digits) == _read_answer(digits)


@given(st.text(alphabet=" \t\n\r\x0b\x1c\xa0\u2003ab"))
def test_white_space_in_a_row_is_one_sign(text: str) -> None:
    kept = fold(text)
    assert plain(text) == re.sub(r"\s+", lambda m: "\n" if "\n" in m[0] else " ", kept)


@given(st.lists(st.sets(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)), max_size=6), max_size=8))
def test_holders_are_the_samples_that_hold_a_key(samples: list[set[int]]) -> None:
    holders = Holders(samples)
    keys = sorted({key for held in samples for key in held} | {0, 2**62})
    expected = {key: [n for n, held in enumerate(samples) if key in held] for key in keys}
    assert {key: holders.of(key) for key in keys} == expected
    assert holders.counts(keys) == [len(expected[key]) for key in keys]
    assert holders.counts([]) == []
