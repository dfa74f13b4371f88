"""A method of one's own: a hint stands in front of the samples that fail, until they are solved without it.

    p2o train quickstart --method examples/methods/hint.py:Hint

hint      in front of all rollouts but the last of each sample on which every rollout failed        hook prompt
withdraw  once a bare rollout of the sample was solved                                   hook between epochs
train     on the bare prompt, as the setting `distillation` says                                   hook credit

The hint below is for the sums of the built-in sandbox: write the one that your task needs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from p2o.core.credit import Credit, credit_of
from p2o.core.methods import EpochEnd, Method
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings

HINT = "Show your work. Go from right to left. Carry the ones. State the total at the end."


class Hint(Method):
    """One hint for all samples on which every rollout fails."""

    given = "a hint"

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        self.hinted: set[str] = set()

    def prompts(self, sample_id: str) -> Sequence[str]:
        return [HINT] * (self.group_size - 1) + [""] if sample_id in self.hinted else ()

    def credit(self, epoch: int) -> Credit:
        return credit_of(self.settings, epoch)

    def between_epochs(self, end: EpochEnd) -> None:
        failed = {i for i, tally in end.tallies.items() if tally.successes == 0}
        solved_bare = {i for i, tally in end.tallies.items() if tally.bare_solved}
        self.hinted = (self.hinted | failed) - solved_bare

    def state_dict(self) -> dict[str, Any]:
        return {"hinted": sorted(self.hinted)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.hinted = set(state["hinted"])
