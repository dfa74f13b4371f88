"""Finding the answer in a completion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ..errors import RewardError
from .verifier_pool import shared_pool
from .verifier_worker import Outcome

Compare = Literal["text", "number", "math"]

_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-+−])?"  # a sign, not the minus of "10-3"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}){1,20}(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
)


def last_number(text: str) -> str | None:
    """The last number as it stands in the text: ``12``, ``-1,234.50``, ``.5``."""
    found = _NUMBER.findall(text)
    return found[-1] if found else None


def number(text: str) -> Decimal | None:
    """The value of a text that is one number and nothing else, else None."""
    text = text.strip()
    return Decimal(text.replace(",", "").replace("−", "-")) if _NUMBER.fullmatch(text) else None


_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete ``\boxed{…}`` (braces may nest), or None. Linear in the text."""
    opened: list[tuple[int, bool]] = []
    last = (-1, -1)
    for match in _BRACE.finditer(text):
        if match.group() == "}" and opened:
            start, is_box = opened.pop()
            if is_box:
                last = max(last, (start, match.start()))
        elif match.group().endswith("{") and match.group() != "\\{":
            opened.append((match.end(), len(match.group()) > 1))
    return text[slice(*last)].strip() or None if last[0] >= 0 else None


@dataclass(frozen=True)
class Found:
    """What a rule found in a completion."""

    answer: str | None
    outcome: Outcome = "checked"
    """Anything but ``checked``: the search itself was stopped or failed."""


@dataclass(frozen=True)
class Rule:
    """How an answer is found in a completion, how it is compared, and what a model is told to do."""

    extract: Callable[[str], str | None] | str
    """A function that takes linear time, or a regular expression: the answer is group 1 of its last match."""
    expected: str
    compare: Compare
    whole: bool = False
    """Whether math-verify looks for the answer itself, in the whole text."""

    def find(self, completions: Sequence[str], deadline: float) -> list[Found]:
        """Finds the answer in each completion.

        Args:
            deadline: CPU seconds for each completion. An expression such as ``(a+)+$`` can need years for one, so
                expressions run in processes that are stopped.
        """
        if not isinstance(self.extract, str):
            return [Found(self.extract(text)) for text in completions]
        checks = [{"pattern": self.extract, "text": text} for text in completions]
        return [Found(result.found, result.outcome) for result in shared_pool("pattern").run(checks, deadline)]


RULES: Mapping[str, Rule] = {
    "boxed": Rule(last_boxed, "the answer must be given inside \\boxed{}", "math"),
    "last_number": Rule(last_number, "the answer must be given as a number at the end", "number"),
    "exact": Rule(lambda text: text.strip() or None, "the answer must be given alone, without other text", "text"),
    "math": Rule(
        lambda text: text.strip() or None,
        "the answer must be given as a mathematical expression",
        "math",
        whole=True,
    ),
}


def pattern_rule(pattern: str, describe: str | None = None, compare: Compare = "text") -> Rule:
    """The rule of a custom format: group 1 of the last match of a regular expression (``.`` matches all).

    Args:
        describe: tells a reflector what is wanted; by default the pattern itself.

    Raises:
        RewardError: ``pattern`` is no regular expression, or has not exactly one group.
    """
    try:
        regex = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise RewardError(f"the reward pattern {pattern!r} is not a regular expression ({error}); fix it") from None
    if regex.groups != 1:
        raise RewardError(f"the reward pattern {pattern!r} has {regex.groups} groups; give it one, around the answer")

    return Rule(pattern, describe or f"the answer must match the pattern {pattern}", compare)


GYM_RULE = pattern_rule(r"<answer>(.*?)</answer>", "the answer must be given between <answer> and </answer>", "text")
