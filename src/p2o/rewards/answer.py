"""Rewards for the right answer in the right format."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from ..base.text import shorten
from ..core.samples import Sample
from ..errors import DataError, RewardError
from .feedback import QUOTED, judged, wrong_format
from .rules import GYM_RULE, Compare, Rule, last_number, number
from .score import Score
from .verifier_pool import CheckResult, shared_pool

DEADLINE = 10.0  # seconds a check may take
RIGHT, WRONG = CheckResult(1.0, "checked"), CheckResult(0.0, "checked")


class AnswerReward:
    """1 for the right answer in the right format, else 0."""

    def __init__(self, name: str, rule: Rule, deadline: float = DEADLINE) -> None:
        """``deadline``: CPU seconds for the search and for the comparison of one answer."""
        self.name, self.rule, self.deadline = name, rule, deadline

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        """One score for each completion, with feedback.

        Raises:
            RewardError: a sample has no right answer, or answers cannot be checked at all.
        """
        golds = [sample.answers for sample in samples]
        for sample, gold in zip(samples, golds, strict=True):
            if not gold:
                raise RewardError(f"reward {self.name!r} needs an answer, and sample {sample.id!r} has none")
        found = self.rule.find(completions, self.deadline)
        answers = [one.answer for one in found]
        results = [
            None if answer is None else self._at_once(answer, gold) for answer, gold in zip(answers, golds, strict=True)
        ]
        open_rows = [i for i, answer in enumerate(answers) if answer is not None and results[i] is None]
        form = "{}" if self.rule.whole else "\\boxed{{{}}}"  # math-verify takes a boxed answer as it stands
        checks = [{"golds": golds[i], "text": form.format(answers[i])} for i in open_rows]
        for i, result in zip(open_rows, shared_pool("math").run(checks, self.deadline), strict=True):
            results[i] = result
        return [
            wrong_format(self.rule, one, self.deadline)
            if one.answer is None or result is None or (self.rule.whole and result.outcome == "unreadable")
            else judged(one.answer, gold, result, self.deadline)
            for one, gold, result in zip(found, golds, results, strict=True)
        ]

    def _at_once(self, answer: str, golds: Sequence[str]) -> CheckResult | None:
        """The result, if no mathematics is needed for it."""
        if any(answer == gold.strip() for gold in golds):
            return RIGHT
        if self.rule.compare == "text":
            return WRONG
        values = [number(gold) for gold in golds]
        if self.rule.compare == "number":
            value = number(last_number(answer) or "")
            return RIGHT if value is not None and value in values else WRONG
        value = number(answer)
        if value is not None and all(v is not None for v in values) and _all_whole([value, *values]):
            return RIGHT if value in values else WRONG
        return None

    def check_gold(self, samples: Sequence[Sample]) -> None:
        """Checks that the right answers can be compared by this rule.

        Raises:
            DataError: see `check_gold`.
        """
        check_gold(samples, self.rule.compare, self.deadline)


def _all_whole(values: Sequence[Decimal | None]) -> bool:
    return all(value is not None and value == value.to_integral_value() for value in values)


def readable_answers(answers: Sequence[str], deadline: float = DEADLINE) -> list[bool]:
    """Which right answers math-verify can read, and so compare with a completion's."""
    results = shared_pool("math").run([{"golds": [answer], "text": None} for answer in answers], deadline)
    return [result.score >= 1 for result in results]


def check_gold(samples: Sequence[Sample], compare: Compare = "math", deadline: float = DEADLINE) -> None:
    """Checks that the right answers of the samples can be compared.

    Args:
        compare: see `Rule`.
        deadline: CPU seconds for each answer.

    Raises:
        DataError: one cannot be read; names the first, and how many there are.
    """
    if compare == "text":
        return
    golds = {gold: sample for sample in reversed(samples) for gold in sample.answers}
    unknown = [gold for gold in reversed(golds) if number(gold) is None]
    if compare == "math":
        readable = readable_answers(unknown, deadline)
        unknown = [gold for gold, can in zip(unknown, readable, strict=True) if not can]
    if unknown:
        kind, other = (
            ("a number", "'boxed'") if compare == "number" else ("mathematics", "'exact' or a pattern compared as text")
        )
        first = golds[unknown[0]]
        where = f"in {first.place}" if first.place else f"of sample {first.id!r}"
        raise DataError(
            f"the answer {shorten(unknown[0], QUOTED)!r} {where} cannot be read as {kind} "
            f"({len(unknown)} of {len(golds)} different answers); fix or drop such rows, "
            f"or use the reward {other}"
        )


class GymReward:
    """What the scorer of the sample's reasoning-gym data set gives for the answer (0 to 1)."""

    def __init__(self, name: str, rule: Rule = GYM_RULE, deadline: float = DEADLINE) -> None:
        """``deadline``: CPU seconds for the search of an answer, and for its scorer."""
        self.name, self.rule, self.deadline = name, rule, deadline

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        """One score for each completion, with feedback.

        Raises:
            RewardError: a sample is not of a reasoning-gym source, or answers cannot be checked at all.
        """
        found = self.rule.find(completions, self.deadline)
        scores = [wrong_format(self.rule, one, self.deadline) for one in found]
        answers = {i: one.answer for i, one in enumerate(found) if one.answer is not None}
        checks = [self._check(answer, samples[i]) for i, answer in answers.items()]
        results = shared_pool("reasoning_gym").run(checks, self.deadline)
        for (i, answer), result in zip(answers.items(), results, strict=True):
            scores[i] = judged(answer, samples[i].answers, result, self.deadline)
        return scores

    def _check(self, answer: str, sample: Sample) -> dict[str, str]:
        columns = sample.columns
        if not columns.get("reasoning_gym") or not columns.get("reasoning_gym_entry"):
            raise RewardError(
                f"reward {self.name!r} needs rows of a reasoning_gym: source, and sample {sample.id!r} is not one"
            )
        return {
            "dataset": columns["reasoning_gym"],
            "entry": columns["reasoning_gym_entry"],
            "answer": answer,
        }
