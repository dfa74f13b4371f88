"""The one sample of an epoch that is shown in full. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .rollout_log import RolloutLog, reading_order


@dataclass(frozen=True)
class ShownSample:
    """A question, a bare answer that failed, and an answer under a template that was right; None: there was none."""

    id: str
    question: str
    answer: str | None
    """The right answer, if the task has one."""
    bare: str | None
    template: str | None
    templated: str | None

    def rows(self, known: Collection[str] = ()) -> list[tuple[str, str]]:
        """(name, text) rows, to be shown under each other.

        Args:
            known: templates that were shown before; they are not shown again.
        """
        rows = [("question", self.question)]
        if self.answer is not None:
            rows.append(("right answer", self.answer))
        if self.bare is not None:
            rows.append(("bare, failed", self.bare or "(empty)"))
        if self.templated is not None:
            template = self.template or ""
            rows += [
                ("template", "as before" if template in known else template),
                ("templated, solved", self.templated),
            ]
        return rows


def failed_bare(log: RolloutLog) -> dict[str, str]:
    """Sample id → a bare completion of the running epoch that failed, of the samples that are in the log."""
    found = {i: _first(sample["rollouts"], templated=False, solved=False) for i, sample in log.samples.items()}
    return {i: row[1] for i, row in found.items() if row is not None}


def choose_sample(
    log: RolloutLog, failed_before: Mapping[str, str], shown_before: Collection[str] = ()
) -> ShownSample | None:
    """The first sample that failed bare and was solved under a template; else the first that failed bare.

    Args:
        log: of the running epoch.
        failed_before: sample id → a bare completion that failed in an earlier epoch, for groups without bare rollouts.
        shown_before: ids of the samples that were shown; another one is taken, if there is one.
    """
    failed = {**failed_before, **failed_bare(log)}
    ids = sorted((i for i in log.samples if i in failed), key=reading_order)
    helped = [i for i in ids if _first(log.samples[i]["rollouts"], templated=True, solved=True) is not None]
    for i in sorted(helped or ids, key=lambda i: i in shown_before)[:1]:
        sample = log.samples[i]
        right = _first(sample["rollouts"], templated=True, solved=True)
        return ShownSample(
            id=i,
            question=sample["prompt"],
            answer=sample["answer"],
            bare=failed[i],
            template=None if right is None else log.templates.texts[right[0]],
            templated=None if right is None else right[1],
        )
    return None


def _first(rollouts: Sequence[Sequence[Any]], templated: bool, solved: bool) -> Sequence[Any] | None:
    """The first [template, completion, reward, solved] row of a kind."""
    return next((row for row in rollouts if (row[0] is not None) == templated and bool(row[3]) == solved), None)
