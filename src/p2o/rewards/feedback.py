"""What a reflector is told about an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.text import shorten
from .rules import Rule
from .score import Score
from .verifier_pool import Verdict

QUOTED = 200
"""Characters of an answer that are quoted; a longer one loses its middle."""


def wrong_format(rule: Rule) -> Score:
    """The score of a completion in which the rule finds no answer."""
    return Score(0.0, f"Wrong format: {rule.expected.rstrip('.')}. Reward: 0.")


def judged(answer: str, golds: Sequence[str], verdict: Verdict, deadline: float) -> Score:
    """The score of an answer in the right format, with feedback."""
    right = f" The right answer is {' or '.join(shorten(gold, QUOTED) for gold in golds)}." if golds else ""
    reward = f" Reward: {verdict.score:.3g}."
    answer = shorten(answer, QUOTED)
    if verdict.outcome == "checked" and verdict.score >= 1:
        text = f"Right answer: {answer}."
    elif verdict.outcome == "checked":
        text = f"{'Not fully right' if verdict.score > 0 else 'Wrong answer'}: {answer}.{right}"
    elif verdict.outcome == "unreadable":
        text = f"Wrong answer: {answer} cannot be read as mathematics.{right}"
    elif verdict.outcome == "timeout":
        text = f"Wrong answer: {answer} could not be checked within {deadline:g} s.{right}"
    else:
        text = f"Wrong answer: {answer} made the checker fail.{right}"
    return Score(verdict.score, text + reward)
