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


def examples(form: str) -> str:
    """Worked examples that end in this form."""
    shown = [f"{question}\n{steps}\n{FORMS[form].format(answer)}" for question, steps, answer in _SUMS]
    return "\n".join(["Answer as in these examples:", *shown])


def _given(form: str) -> Callable[[str], str]:
    number = count()

    def reflector(prompt: str) -> str:
        """Two different texts in turn: the same text twice would be refused as a duplicate."""
        return f"```\n{examples(form)}" + ("\nBe brief." if next(number) % 2 else "") + "\n```"

    return reflector


def _once(form: str) -> Callable[[str], str]:
    numbers = count()

    def reflector(prompt: str) -> str:
        """The examples on the third of 32 calls, which is as many as an evolution makes; else useless phrases."""
        number = next(numbers)
        text = examples(form) if number % 32 == 2 else f"Think of the number {number}."
        return f"```\n{text}\n```"

    return reflector


lines, final, boxed, tags = (_given(form) for form in FORMS)
lines_once, final_once, boxed_once, tags_once = (_once(form) for form in FORMS)
