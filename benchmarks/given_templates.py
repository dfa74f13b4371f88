"""Reflectors that return a given template, for `credits.py`: worked examples in one answer format.

Evolution's own luck would hide the difference between ways of distillation, so here it has nothing to find.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

_SUMS = (("Calculate 30 + 40.", "30 + 40 = 70", "70"), ("Calculate 20 + 60.", "20 + 60 = 80", "80"))
FORMS = {
    "lines": "The result is {}.",
    "final": "The final answer is {}.",
    "boxed": "\\boxed{{{}}}",
    "tags": "<answer>{}</answer>",
}

_ASKED = "how many legs are there in total if you have"
_LEGS = (
    ("2 dogs", "2 dogs: 2 x 4 = 8 legs. Total: 8"),
    ("1 ant", "1 ant: 1 x 6 = 6 legs. Total: 6"),
    ("3 chickens", "3 chickens: 3 x 2 = 6 legs. Total: 6"),
    ("2 spiders, 1 cow", "2 spiders: 2 x 8 = 16 legs. 1 cow: 1 x 4 = 4 legs. Total: 16 + 4 = 20"),
    ("1 crab, 3 cats", "1 crab: 1 x 10 = 10 legs. 3 cats: 3 x 4 = 12 legs. Total: 10 + 12 = 22"),
)
LEGS = "\n\n".join(
    ["Answer as in these examples.", *(f"Now, {_ASKED} {animals}?\n{steps}" for animals, steps in _LEGS)]
)
"""A worked procedure: the answer may stand in any form."""


def examples(form: str) -> str:
    """Worked examples that end in this form."""
    shown = [f"{question}\n{steps}\n{FORMS[form].format(answer)}" for question, steps, answer in _SUMS]
    return "\n".join(["Answer as in these examples:", *shown])


def _given(template: str) -> Callable[[str], str]:
    number = count()

    def reflector(prompt: str) -> str:
        """Two different texts in turn: the same text twice would be refused as a duplicate."""
        return f"```\n{template}" + ("\nBe brief." if next(number) % 2 else "") + "\n```"

    return reflector


lines, final, boxed, tags = (_given(examples(form)) for form in FORMS)
legs = _given(LEGS)
