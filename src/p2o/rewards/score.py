"""What a reward gives for a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ..core.samples import Sample


@dataclass(frozen=True)
class Score:
    """One reward for one completion; None where it does not apply (TRL leaves it out of the sum)."""

    reward: float | None
    feedback: str


@dataclass(frozen=True)
class Scored:
    """All rewards for one completion."""

    reward: float
    """The weighted sum, which is what trains."""
    rewards: Mapping[str, float | None]
    solved: bool
    feedback: str


@runtime_checkable
class Reward(Protocol):
    """Scores completions."""

    name: str
    """Stands in logs, and in front of feedback when there are several rewards."""

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        """One score for each completion.

        Args:
            completions: N texts.
            samples: their N samples.
            context: what TRL passes to reward functions beside the columns of the data set, such as
                ``completion_ids``.
        """
        ...
