"""The four hooks through which a method changes GRPO. Each does nothing here, so that this class is GRPO itself.

1. order:   which samples the next epoch draws, and how often.
2. prompt:  what stands in front of each rollout slot while it is generated (a *scaffold*; "" is the bare prompt).
3. credit:  how a scaffolded rollout is trained on the bare prompt.
4. between epochs: what the epoch's successes make the method do (evolve templates, move hint levels, withdraw).

A method is driven by `p2o.core.loop.JointLoop`. With several processes hook 4 runs on rank 0 alone, and
``state_dict`` carries its outcome to the others; the other hooks must depend on that state and their arguments alone,
so that all processes agree and a resumed run repeats them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..credit import Credit
from ..evolve import EvolveProgress, Reflector
from ..hard import Tally
from ..samples import RolloutFn, Sample
from ..settings import LoopSettings
from ..summary import EpochSummary

Progress = Callable[[EvolveProgress], None]


@dataclass(frozen=True)
class PromptTools:
    """What a method may use between two epochs. All that it makes is counted as cost."""

    roll_out: RolloutFn
    """Rolls out (template, sample) pairs with the current weights, and scores them."""
    reflector: Reflector
    """Writes new templates."""
    progress: Progress = lambda _: None
    """Told how far an evolution is."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch that has ended, as hook 4 gets it."""

    next_epoch: int
    """Number of the epoch that begins, from 1."""
    tallies: Mapping[str, Tally]
    """What the rollouts of each sample earned in the epoch that has ended."""
    summary: EpochSummary
    """Figures of that epoch. A method adds what it did."""
    tools: PromptTools
    folder: Path
    """The run's ``p2o`` folder, for files of the method's own."""


class Method:
    """Plain GRPO, and the base of all methods.

    Args:
        settings: the loop's settings.
        samples: all training samples by id.
        group_size: K, rollouts of a sample in an epoch.
        seed: of the run; all chance must follow from it and the epoch's number.
    """

    credit: Credit = Credit()
    """Hook 3. Read when a batch holds scaffolded rollouts."""

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        self.settings, self.samples, self.group_size, self.seed = settings, samples, group_size, seed

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        """Hook 1: the samples of an epoch in the order in which they are drawn.

        Args:
            ids: the uniform order, each sample once.
            epoch: from 0.

        Returns:
            As many ids; an id may stand in it several times, or not at all.
        """
        return ids

    def prompts(self, sample_id: str) -> Sequence[str]:
        """Hook 2: the scaffolds of a sample's K rollout slots in the running epoch; empty is all bare."""
        return ()

    def rolls_out(self, tallies: Mapping[str, Tally]) -> bool:
        """Whether `between_epochs` will roll out. A checkpoint is saved first: that may take long."""
        return False

    def between_epochs(self, end: EpochEnd) -> None:
        """Hook 4."""

    def state_dict(self) -> dict[str, Any]:
        """All that the hooks depend on; JSON-able."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""

    def pool(self) -> Sequence[Mapping[str, Any]]:
        """The scaffolds in use, for the reader of a run: ``{"text", "weight", "solves"}`` each."""
        return ()
