"""The words for what happened to a group and to a sample. Pure: counts in, words out.

Three different things can be said of a *group* (the rollouts of one sample in one epoch):

- its **outcome**: all failed, mixed, or all solved, by how many rollouts reached the success threshold;
- whether it is **hard**: fewer than τ rollouts solved. The prompt step works on these groups;
- whether its rewards have **no spread**, so that GRPO's advantages are all zero. With partial credit an all-failed
  group may have spread, and GRPO trains on it.

The state of a *sample* in an epoch depends on earlier epochs too: did it need help, was it mastered?
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

GroupOutcome = Literal["all_failed", "mixed", "all_solved"]
Need = Literal["hard", "kept", "bare"]
"""What a sample needs in the next epoch (`p2o.core.withdrawal`): new templates, those that it has, or none."""
SampleState = Literal["forgotten", "all_failed", "not_rescued", "rescued", "graduated", "mixed", "mastered"]

LEAST_SPREAD = 1e-6
"""Rewards that differ by less than this count as equal, because sums of weighted rewards are rounded."""


class Word(NamedTuple):
    """A word of the vocabulary, as tables and pages show it."""

    label: str
    meaning: str


GROUP_OUTCOMES: dict[GroupOutcome, Word] = {
    "all_failed": Word("all failed", "no rollout of the group was solved"),
    "mixed": Word("mixed", "some rollouts solved, some not"),
    "all_solved": Word("all solved", "every rollout of the group was solved"),
}
HARD = Word("hard", "fewer than τ rollouts of the group were solved")
NO_SPREAD = Word("no spread", "all rewards of the group are equal, so GRPO learns nothing from it")

STATES: dict[SampleState, Word] = {
    "forgotten": Word("forgotten", "every bare rollout failed; mastered in an earlier epoch"),
    "all_failed": Word("all failed", "every rollout failed, without help"),
    "not_rescued": Word("not rescued", "every rollout failed, under help too"),
    "rescued": Word("rescued", "solved under help, not bare"),
    "graduated": Word("graduated", "solved bare, after having needed help"),
    "mixed": Word("mixed", "some bare rollouts solved; never needed help"),
    "mastered": Word("mastered", "every bare rollout solved; never needed help"),
}
"""From bad to good. Help is a template in front of the prompt, or what another method puts there."""


class Counts(Protocol):
    """Rollouts of one sample in one epoch (`p2o.core.hard.Tally`)."""

    bare: int
    bare_solved: int
    templated: int
    templated_solved: int


def outcome_of(solved: int, rollouts: int) -> GroupOutcome:
    """The outcome of a group, from its number of rollouts and how many of them were solved."""
    if solved == 0:
        return "all_failed"
    return "all_solved" if solved == rollouts else "mixed"


def has_spread(rewards: Iterable[float | None]) -> bool:
    """Whether a group's rewards differ; None and NaN (not scorable) count as 0, as in TRL."""
    scored = [0.0 if r is None or math.isnan(r) else r for r in rewards]
    return bool(scored) and max(scored) - min(scored) > LEAST_SPREAD


def state_of(tally: Counts, needed: bool, mastered: bool) -> SampleState:
    """The state of a sample in one epoch.

    Args:
        tally: its rollouts in this epoch, and how many were solved.
        needed: it has templates in this epoch, or had them in an earlier one.
        mastered: it was mastered in an earlier epoch (see `is_mastered`).
    """
    if tally.bare_solved:
        if needed:
            return "graduated"
        return "mastered" if is_mastered(tally) else "mixed"
    if tally.templated:
        return "rescued" if tally.templated_solved else "not_rescued"
    return "forgotten" if mastered else "all_failed"


def is_mastered(tally: Counts) -> bool:
    """Whether all rollouts of a group were bare and solved. (A templated group has too few bare rollouts to say so.)"""
    return tally.bare_solved == tally.bare > 0 and not tally.templated


@dataclass
class SampleHistory:
    """What the epochs so far have shown about the samples."""

    needed: set[str] = field(default_factory=set)
    """Samples that have, or had, templates."""
    mastered: set[str] = field(default_factory=set)
    """Samples that were mastered in some epoch."""

    def add_epoch(self, tallies: Mapping[str, Counts]) -> dict[str, SampleState]:
        """Adds the tallies of the next epoch. Returns the state of each sample that was drawn in it."""
        self.needed |= {i for i, tally in tallies.items() if tally.templated}
        states = {i: state_of(tally, i in self.needed, i in self.mastered) for i, tally in tallies.items()}
        self.mastered |= {i for i, tally in tallies.items() if is_mastered(tally)}
        return states
