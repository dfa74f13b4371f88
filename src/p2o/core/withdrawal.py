"""When a sample gets help (templates), and when it loses it (setting ``withdrawal``). Pure.

``solved``     the paper's rule: a sample has templates in the next epoch if it is hard now, under a template or not
``graduated``  it keeps templates that work until one of its bare rollouts is solved
``smoothed``   it keeps them until its bare success, smoothed over the epochs, is at least `LEAVE`, and gets them back
               below `RETURN`; meanwhile the more of its slots are bare the higher that success is, at random places

Under ``graduated`` one lucky bare rollout withdraws a template, and the next epoch brings it back. Bare slots at random
are from DAHS+BHA (arXiv 2604.07747), which drops hints so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .states import Need

Withdrawal = Literal["solved", "graduated", "smoothed"]

LEAVE = 0.5
"""Help is withdrawn at this smoothed bare success."""
RETURN = 0.25
"""Help comes back below it."""
FADE = 0.5
"""What the rollouts of an epoch count for in the next one."""
DOUBT = 2.0
"""Failed rollouts that are added, so that one lucky rollout does not withdraw help."""


class Counts(Protocol):
    """Rollouts of one sample in one epoch (`p2o.core.hard.Tally`)."""

    bare: int
    bare_solved: int
    templated: int
    templated_solved: int


def need_of(tally: Counts, withdrawal: Withdrawal, max_successes: int) -> Need:
    """What a sample needs in the next epoch, by one epoch's rollouts.

    A sample whose templates do not work is hard; one whose templates work keeps them ("kept"), but under ``solved``.
    ``smoothed`` decides with `Help` when a kept sample loses them.

    Args:
        max_successes: τ−1.
    """
    if tally.templated and withdrawal != "solved":
        if tally.bare_solved and withdrawal == "graduated":
            return "bare"
        return "hard" if tally.templated_solved <= max_successes and not tally.bare_solved else "kept"
    return "hard" if tally.bare_solved + tally.templated_solved <= max_successes else "bare"


def needs_of(tallies: Mapping[str, Counts], withdrawal: Withdrawal, max_successes: int) -> dict[str, Need]:
    """Id → what the sample needs in the next epoch, in sorted order of ids (see `need_of`)."""
    return {i: need_of(tallies[i], withdrawal, max_successes) for i in sorted(tallies)}


@dataclass
class Help:
    """Smoothed bare success of the samples that have, or had, templates (``smoothed``)."""

    solved: dict[str, float] = field(default_factory=dict)
    """Solved bare rollouts, faded."""
    drawn: dict[str, float] = field(default_factory=dict)

    def add_epoch(self, tallies: Mapping[str, Counts]) -> None:
        """Adds an epoch's bare rollouts, of the samples that are known or were rolled out under a template."""
        for i, tally in tallies.items():
            if tally.templated or i in self.drawn:
                self.solved[i] = FADE * self.solved.get(i, 0.0) + tally.bare_solved
                self.drawn[i] = FADE * self.drawn.get(i, 0.0) + tally.bare

    def bare_success(self, sample_id: str) -> float:
        """Smoothed; 0 of a sample that was never helped."""
        return self.solved.get(sample_id, 0.0) / (self.drawn.get(sample_id, 0.0) + DOUBT)

    def decide(self, needs: Mapping[str, Need], helped: Collection[str]) -> dict[str, Need]:
        """The needs, with both thresholds: "kept" is withdrawn at `LEAVE`, and a sample that was withdrawn is helped
        again only below `RETURN`, then with the templates that there are ("kept").

        Args:
            helped: samples with templates in the epoch that has ended.
        """
        return {i: self._decide(i, need, i in helped) for i, need in needs.items()}

    def _decide(self, sample_id: str, need: Need, helped: bool) -> Need:
        if sample_id not in self.drawn:
            return need
        success = self.bare_success(sample_id)
        if helped:
            return "bare" if need == "kept" and success >= LEAVE else need
        return "kept" if success < RETURN else "bare"

    def with_bare_slots(self, sample_id: str, templates: Sequence[str], least: int, rng: random.Random) -> list[str]:
        """A group's templates, some of them replaced by the bare prompt at random places: from ``least`` to all but
        one, in proportion to smoothed bare success. A fraction is rounded at random."""
        share = min(1.0, self.bare_success(sample_id) / LEAVE)
        bare = math.floor(least + (len(templates) - 1 - least) * share + rng.random())
        places = set(rng.sample(range(len(templates)), bare))
        return ["" if n in places else template for n, template in enumerate(templates)]
