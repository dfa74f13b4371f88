"""The four hooks through which a method changes GRPO. Each does nothing here, so that this class is GRPO itself.

1. order:   which samples the next epoch draws, and how often.
2. prompt:  which text is put in front of the prompt of each rollout slot (a *scaffold*; "" is the bare prompt).
3. credit:  how a scaffolded rollout is trained on the bare prompt.
4. between epochs: what the method does after it has seen an epoch's successes (evolve templates, change hint levels,
   withdraw help).

`p2o.core.loop.JointLoop` calls the hooks. With several processes hook 4 runs on rank 0 only, and ``state_dict`` carries
its result to the others. The other hooks must depend only on that state and on their arguments, so that all processes
agree and a resumed run repeats them.
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
from ..solutions import check_solutions
from ..summary import EpochSummary
from .beside import Elsewhere

Progress = Callable[[EvolveProgress], None]


@dataclass(frozen=True)
class PromptTools:
    """What a method may use between two epochs. Its rollouts and reflections are counted as cost."""

    roll_out: RolloutFn
    """Rolls out (template, sample) pairs with the current weights, and scores them."""
    reflector: Reflector
    """Writes new templates."""
    progress: Progress = lambda _: None
    """Called with the state of an evolution as it proceeds."""
    elsewhere: Elsewhere | None = None
    """Evolves beside the next epoch; None: a method evolves now, with the tools above."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch that has ended: the argument of hook 4."""

    next_epoch: int
    """Number of the epoch that begins, from 1."""
    tallies: Mapping[str, Tally]
    """Sample id → its rollouts in the epoch that has ended, and how many were solved."""
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
        seed: of the run. All random choices must follow from it and the epoch's number.

    Raises:
        ConfigError: it is given solutions, and a sample has none.
    """

    given = "nothing"
    """What it is given beside the rewards, for the table of a comparison. With "solutions" every training
    sample must have one (`p2o.core.solutions`)."""
    needs_trl = False
    """Whether it acts within a training step, which verl's trainer makes itself."""
    redraws = 0
    """Part of hook 1: how many times the groups without spread of a batch are replaced by groups of further samples
    before the batch is trained; needs TRL."""

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        self.settings, self.samples, self.group_size, self.seed = settings, samples, group_size, seed
        if self.given == "solutions":
            check_solutions(samples, f"method {settings.method}")

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        """Hook 1: the samples of an epoch in the order in which they are drawn.

        Args:
            ids: the uniform order, each sample once.
            epoch: from 0.

        Returns:
            As many ids as it was given; an id may occur several times, or not at all.
        """
        return ids

    def prompts(self, sample_id: str) -> Sequence[str]:
        """Hook 2: the scaffolds of a sample's K slots in the running epoch (or `..given.Given`); empty is all bare."""
        return ()

    def credit(self, epoch: int) -> Credit:
        """Hook 3: how scaffolded rollouts are trained.

        Args:
            epoch: of the running epoch, from 0.
        """
        return Credit()

    def rolls_out(self, tallies: Mapping[str, Tally]) -> bool:
        """Whether `between_epochs` will roll out. That may take long, so the trainer saves a checkpoint before it."""
        return False

    def between_epochs(self, end: EpochEnd) -> None:
        """Hook 4: called after each epoch but the last, on rank 0 only."""

    def state_dict(self) -> dict[str, Any]:
        """All that the hooks depend on; JSON-able."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""

    def pool(self) -> Sequence[Mapping[str, Any]]:
        """The scaffolds in use, for the files that a person reads: ``{"text", "weight", "solves"}`` each."""
        return ()
