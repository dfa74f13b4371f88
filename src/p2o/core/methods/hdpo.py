"""Distillation of privileged successes (HDPO, arXiv 2603.23871): where all rollouts failed, the policy that has
read the solution teaches the one that has not.

    failed     D = samples of which all bare rollouts failed                                 hook between epochs
    prompt     a sample of D is drawn once from x' = (solution, x), in all K slots, and bare again in the
               next epoch; all other samples are drawn from x                                       hook prompt
    loss       - A log π(y | x) on rollouts from x (GRPO);
               λ Σ_t KL(π(· | x', y_<t) ‖ π(· | x, y_<t)) on solved rollouts from x', which get no policy
               gradient; failed ones have no loss                                                   hook credit

KL is taken over the teacher's k likeliest tokens, all others together as one, and is at most c for a token (settings
``kl_weight`` λ, ``kl_top_k`` k, ``kl_clip`` c).

Different from the paper: it draws rollouts from x and from x' in one step. Here they take turns, epoch by epoch, so
that the advantages of a group are not those of two prompts mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..credit import Credit
from ..kl_term import KlTerm
from ..samples import Sample
from ..settings import LoopSettings
from ..solutions import whole
from .base import EpochEnd, Method

HEADING = "A solution of the question below:"


def privileged(sample: Sample) -> str:
    """What the policy reads in front of a question whose solution it knows; "" if there is nothing to show."""
    solution = whole(sample)
    return f"{HEADING}\n{solution}" if solution else ""


class HDPO(Method):
    """Forward KL from successes that have read the solution, where all rollouts failed.

    Raises:
        ConfigError: a sample has no solution.
    """

    given = "solutions"
    needs_trl = True

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        self.failed: set[str] = set()

    def prompts(self, sample_id: str) -> Sequence[str]:
        shown = privileged(self.samples[sample_id]) if sample_id in self.failed else ""
        return [shown] * self.group_size if shown else ()

    def credit(self, epoch: int) -> Credit:
        settings = self.settings
        return Credit(kl=KlTerm(settings.kl_weight, settings.kl_top_k, settings.kl_clip, alone=True))

    def between_epochs(self, end: EpochEnd) -> None:
        self.failed = {i for i, tally in end.tallies.items() if tally.bare and not tally.bare_solved}

    def state_dict(self) -> dict[str, Any]:
        return {"failed": sorted(self.failed)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.failed = set(state["failed"])
