"""Which samples an epoch draws: rollouts go where the last epochs showed that they teach (``sampling: adaptive``).

    learns    mixed, or solved under templates, or it has templates in the next epoch    drawn in every epoch
    mastered  every rollout was bare and solved                                          after 2, 4, 8, 8, … epochs
    hopeless  every rollout failed, and it has no templates in the next epoch            after 2, 4, 8, 8, … epochs

An epoch has as many draws as a uniform one. The places of the samples that rest go to those that learn, which are then
drawn twice. The intervals are those of spaced repetition (Leitner); that uniform draws waste about half of the compute
is the finding of Knapsack RL (arXiv 2509.25849). Pure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..base.text import counted
from .hard import Tally
from .stored import field_rows, from_field_rows

Sampling = Literal["uniform", "adaptive"]
"""``uniform``: each sample once in each epoch (GRPO, the paper). ``adaptive``: `Schedule`."""

LONGEST_INTERVAL = 8
"""In epochs: no sample rests for longer."""
MOST_DRAWS = 2
"""Draws of one sample in an epoch."""


@dataclass
class Schedule:
    """When each sample is due again. A sample that is not in it was never drawn, and is due."""

    interval: dict[str, int] = field(default_factory=dict)
    """In epochs: 1 learns."""
    due: dict[str, int] = field(default_factory=dict)
    """Number of the epoch, from 0."""
    last: dict[str, Tally] = field(default_factory=dict)
    """Each sample's tally in the last epoch that drew it: what is known about those that rest."""

    drawn: dict[str, int] = field(default_factory=dict)
    """Rollouts of each sample in all epochs so far."""

    def add_epoch(self, tallies: Mapping[str, Tally], helped: Collection[str], epoch: int) -> None:
        """Reads an epoch's successes.

        Args:
            tallies: sample id → its rollouts in the epoch, of the samples that were drawn.
            helped: samples with templates in the next epoch.
            epoch: its number, from 0.
        """
        self.last |= tallies
        self.drawn |= {i: self.drawn.get(i, 0) + tally.rollouts for i, tally in tallies.items()}
        for sample_id, tally in tallies.items():
            self._rest(sample_id, next_interval(tally, self.interval.get(sample_id, 1)), epoch)
        for sample_id in helped:  # also one that rested: new templates bring it back at once
            self._rest(sample_id, 1, epoch)

    def _rest(self, sample_id: str, interval: int, epoch: int) -> None:
        self.interval[sample_id], self.due[sample_id] = interval, epoch + interval

    def order(self, ids: Sequence[str], epoch: int, rng: random.Random) -> list[str]:
        """As many draws as ``ids``: all samples that are due; then those that learn once more; then those that rest,
        the next ones that are due first.

        Args:
            ids: the uniform order, each sample once.
            epoch: from 0.
            rng: shuffles the draws.
        """
        due = [i for i in ids if self.due.get(i, 0) <= epoch]
        learning = [i for i in due if self.interval.get(i, 1) == 1] * (MOST_DRAWS - 1)
        resting = sorted((i for i in ids if self.due.get(i, 0) > epoch), key=lambda i: self.due[i])
        drawn = [*due, *learning, *resting][: len(ids)]
        rng.shuffle(drawn)
        return drawn

    def draws_line(self, tallies: Mapping[str, Tally], group_size: int) -> str:
        """One line for the end of a run: how often samples were drawn.

        Args:
            tallies: of the last epoch, which `add_epoch` has not read.
            group_size: K, rollouts of one draw.
        """
        both = {i: self.drawn.get(i, 0) + tallies.get(i, Tally()).rollouts for i in self.drawn.keys() | tallies.keys()}
        samples = Counter(rollouts // group_size for rollouts in both.values())
        return "drawn in all: " + ", ".join(
            f"{counted(samples[times], 'sample')} {counted(times, 'time')}" for times in sorted(samples)
        )

    def state_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "interval": self.interval,
            "due": self.due,
            "last": field_rows(self.last),
            "drawn": self.drawn,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.interval, self.due = dict(state["interval"]), dict(state["due"])
        self.last, self.drawn = from_field_rows(Tally, state["last"]), dict(state["drawn"])


def next_interval(tally: Tally, interval: int) -> int:
    """Epochs until a sample is drawn again, if it has no templates in the next epoch.

    Args:
        tally: of the epoch that drew it.
        interval: the last one.
    """
    learns = tally.templated_solved or 0 < tally.successes < tally.rollouts
    return 1 if learns else min(2 * interval, LONGEST_INTERVAL)
