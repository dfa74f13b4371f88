"""Solutions shown in part in front of the question: what `prefix` and `sage` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..credit import Credit
from ..hard import Tally
from ..samples import Sample
from ..settings import LoopSettings
from ..solutions import beginning, steps_of
from .base import EpochEnd, Method

LEVELS = 4
"""At level ℓ the first ℓ/4 of a solution's steps are shown."""


class ShownInPart(Method):
    """A level for each sample that needed help; the policy is trained on the prompt that it saw.

    Raises:
        ConfigError: a sample has no solution.
    """

    given = "solutions"
    heading: str
    """Stands in front of the steps."""

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        self.levels: dict[str, int] = {}

    def next_level(self, level: int | None, tally: Tally) -> int | None:
        """The level of a sample in the next epoch.

        Args:
            level: in the epoch that has ended; None: it never had one.
            tally: of that epoch.
        """
        raise NotImplementedError

    def prompts(self, sample_id: str) -> Sequence[str]:
        shown = beginning(self.samples[sample_id], self.levels.get(sample_id, 0), LEVELS)
        return [f"{self.heading}\n{shown}"] * self.group_size if shown else ()

    def credit(self, epoch: int) -> Credit:
        return Credit(trained_on="templated", old_logps="templated")

    def between_epochs(self, end: EpochEnd) -> None:
        told = {i: tally for i, tally in end.tallies.items() if steps_of(self.samples[i])}
        levels = {i: self.next_level(self.levels.get(i), tally) for i, tally in told.items()}
        self.levels |= {i: level for i, level in levels.items() if level is not None}
        counts = [sum(level == at for level in self.levels.values()) for at in range(1, LEVELS + 1)]
        end.summary.notes.append(f"samples shown 1/4, 2/4, 3/4, 4/4 of their steps: {', '.join(map(str, counts))}")

    def state_dict(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.levels = dict(state["levels"])
