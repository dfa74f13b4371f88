"""Evolution beside training (``evolve_beside``): templates evolve elsewhere, on saved weights, while an epoch trains.

    prompt step n    begin: the weights, the hard set and the templates of now ─► elsewhere
    prompt step n+1  result ─► pool ─► assignment to the samples that are hard then

The result is used at exactly the next prompt step, however long it took, so that a run repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..evolve import Evolution

NOTE = "the evolution runs beside the next epoch; its templates are used in the epoch after that"


@dataclass(frozen=True)
class Task:
    """An evolution that is to be made, beside the policy that it is for. JSON-able."""

    number: int
    """Of the prompt step that makes a pool of it: of the epoch (from 1) in which the pool is first used. The folder and
    the seed of the evolution follow from it."""
    hard: Sequence[str]
    """Ids of the hard samples, shuffled."""
    pool: Sequence[str]
    """The templates in use; with ``warm_start`` the evolution begins with them too."""


class Elsewhere(Protocol):
    """Evolves in a process of its own."""

    def begin(self, task: Task) -> bool:
        """Begins an evolution on the weights of now; False if the run has no prompt step that could use it."""

    def result(self, number: int) -> Evolution:
        """The evolution that was begun for this prompt step; waits for it.

        Raises:
            StateError: it failed; the message says why.
        """
