"""What a reflector is told about an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.text import shorten
from .rules import Found, Rule
from .score import Score
from .verifier_pool import CheckResult

NOTHING = Found(None)
QUOTED = 200
"""Characters of an answer that are quoted; a longer one loses its middle."""


def wrong_format(rule: Rule, found: Found = NOTHING, deadline: float = 0.0) -> Score:
    """The score of a completion in which no answer was found, with feedback that tells the rule.

    Args:
        found: what the search came to; one that was stopped is told too.
        deadline: CPU seconds that the search had.
    """
    stopped = f" (the search for it took more than {deadline:g} s)" if found.outcome == "timeout" else ""
    return Score(0.0, f"Wrong format: {rule.expected.rstrip('.')}{stopped}. Reward: 0.")


def judged(answer: str, golds: Sequence[str], result: CheckResult, deadline: float) -> Score:
    """The score of an answer in the right format, with feedback.

    Args:
        golds: the right answers, which the feedback names when the answer is wrong.
        deadline: CPU seconds that the check had.
    """
    right = f" The right answer is {' or '.join(shorten(gold, QUOTED) for gold in golds)}." if golds else ""
    reward = f" Reward: {result.score:.3g}."
    answer = shorten(answer, QUOTED)
    if result.outcome == "checked" and result.score >= 1:
        text = f"Right answer: {answer}."
    elif result.outcome == "checked":
        text = f"{'Not fully right' if result.score > 0 else 'Wrong answer'}: {answer}.{right}"
    elif result.outcome == "unreadable":
        text = f"Wrong answer: {answer} cannot be read as mathematics.{right}"
    elif result.outcome == "timeout":
        text = f"Wrong answer: {answer} could not be checked within {deadline:g} s.{right}"
    else:
        text = f"Wrong answer: {answer} made the checker fail.{right}"
    return Score(result.score, text + reward)
