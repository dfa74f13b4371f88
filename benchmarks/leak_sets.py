"""Hard sets for the leak guard's benchmark: questions in the style of real data sets, eight kinds of gold answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from leak_questions import QUESTIONS
from p2o.core.samples import Sample

BOX = " Let's think step by step and output the final answer within \\boxed{}."
_WORDS = {
    "name": "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jo Kim Lea Max Nora Omar Pia Quin Rosa Sam Tara",
    "thing": "apples books coins shells stamps pens cards marbles tickets candles plates roses",
    "place": "drawer garden attic cellar hall box harbour library",
    "verb": "finds buys collects wins receives borrows",
    "job": "baker painter farmer driver gardener tailor printer plumber potter teacher",
}
_CHOICES = {key: words.split() for key, words in _WORDS.items()}


def _filled_in(rng: random.Random) -> tuple[str, str]:
    """A question and its solution, whose wording many others share: only names and numbers are its own."""
    n, m = rng.sample(_CHOICES["name"], 2)
    t = rng.choice(_CHOICES["thing"])
    place, verb, job = (rng.choice(_CHOICES[key]) for key in ("place", "verb", "job"))
    a, b, c, d = (rng.randint(lo, hi) for lo, hi in ((13, 99), (12, 80), (2, 9), (100, 999)))
    return rng.choice(
        (
            (
                f"{n} keeps {a} {t} in the {place} and {verb} {b} more on Monday. A week later {m} brings {c} times as "
                f"many {t} as that. How many {t} do {n} and {m} have together in the end?",
                f"{n} starts with {a} {t}, so after Monday there are {a + b}. {m} brings {c} times that, "
                f"{c * (a + b)}. Together they have {(c + 1) * (a + b)} {t}.",
            ),
            (
                f"A {job} works {c} hours a day for {a} days and earns {d} dollars each week. Half of it goes into "
                f"new tools, the rest to {n}. What does {n} receive per hour of the {job}'s work?",
                f"The {job} works {c * a} hours in all, and {n} receives half of {d} dollars for each week.",
            ),
            (
                f"Let f(x) = {c}x^2 - {a}x + {b}. Find the smallest positive integer k such that f(k) is divisible "
                f"by {d}.",
                f"We write f(k) = {c}k^2 - {a}k + {b} and look at it modulo {d}, one residue after the other.",
            ),
            (
                f"A bag holds {b} red and {a} blue {t}. {m} draws {c} of them at random without putting any back. "
                f"What is the probability that all {c} have the same colour?",
                f"There are {a + b} {t}. Choose {c} of the {b} red or of the {a} blue ones, over all choices.",
            ),
            (f"What is {d} + {d + a * b}?", f"Add the columns of {d} and {d + a * b} from the right."),
        )
    )


def _mixed(rng: random.Random) -> str:
    """A gold answer as in MATH."""
    a, b, c = rng.randint(2, 12), rng.randint(2, 40), rng.choice((2, 3, 5, 6, 7, 10))
    kinds = (
        str(rng.randint(0, 20)), str(rng.randint(0, 20)), str(rng.randint(21, 999)), str(-a),
        str(rng.randint(1000, 9999)),
        f"\\frac{{{a}}}{{{b + a}}}", f"-\\frac{{{a}}}{{{c}}}", f"{a}\\sqrt{{{c}}}", f"\\frac{{\\sqrt{{{c}}}}}{{{a}}}",
        f"\\frac{{\\pi}}{{{a}}}", f"{b}\\pi", f"({a},{-b})", f"(-\\infty,{a}]", f"{a * 15}^\\circ", f"x^2-{a}x+{b}",
        f"{b}\\%", f"\\text{{({rng.choice('ABCDE')})}}", f"{a}, {b}", f"{rng.randint(10, 99)},{rng.randint(100, 999)}",
        f"\\${a}.{b + 50}", f"y={a}x+{b}", "\\text{even}", f"{a}+{c}i",
    )  # fmt: skip
    return rng.choice(kinds)


def _fraction(rng: random.Random) -> str:
    x = Fraction(rng.randint(1, 60), rng.randint(2, 40))
    return f"\\frac{{{x.numerator}}}{{{x.denominator}}}"


ANSWERS: dict[str, Callable[[random.Random], str]] = {
    "small integers": lambda rng: str(rng.randint(0, 20)),
    "two or three digits": lambda rng: str(rng.randint(10, 999)),
    "large integers": lambda rng: str(rng.randint(1000, 10 ** rng.randint(4, 7))),
    "round numbers": lambda rng: str(rng.choice((rng.randint(1, 9), rng.randint(1, 99))) * 10 ** rng.randint(1, 4)),
    "decimals": lambda rng: f"{rng.randint(1, 99999) / rng.choice((10, 100, 100, 1000)):g}",
    "fractions": _fraction,
    "mixed LaTeX": _mixed,
    "choices": lambda rng: rng.choice(("A", "B", "C", "D", "(E)", "Yes", "No", "true", "false")),
}
"""A gold answer of each kind."""


def hard_set(kind: str, count: int, seed: int = 0) -> list[Sample]:
    """A hard set with gold answers of one kind.

    The first 60 questions are worded in their own way (ids q…), all others fill in one of five forms (ids s…) and have
    a solution. All name the format, as real data sets do.
    """
    rng = random.Random(f"{kind} {count} {seed}")
    out = []
    for i in range(count):
        own = i < len(QUESTIONS)
        question, solution = (QUESTIONS[i], "") if own else _filled_in(rng)
        columns = {"source": "made", "level": f"Level {i % 5}"} | ({} if own else {"solution": solution})
        name = f"q{i}" if own else f"s{i}"
        out.append(Sample(name, [{"role": "user", "content": question + BOX}], ANSWERS[kind](rng), columns))
    return out


def fresh_questions(count: int = 100_000) -> list[str]:
    """Questions of the five forms that stand in no hard set."""
    rng = random.Random("fresh")
    return [_filled_in(rng)[0] for _ in range(count)]
