"""Scaffolds (Scaf-GRPO, arXiv 2510.19807): in a group that failed, one row is drawn under the weakest hint that works.

    hint      h(x) = the first ℓ/4 of the solution's steps, with the least ℓ whose rollout is solved;
              tried in order for each sample of which no bare rollout was solved             hook between epochs
    prompt    the last of K rollouts is drawn from (h(x), x), the others from x                     hook prompt
    credit    the hinted row, if it is solved, is trained on x; a token's loss weighs               hook credit
              ``scaf``        exp(clip(Σ_t log r_t, -5, 5)),  r_t = π(y_t | x) / π(y_t | h, x)
              ``scaf_sft``    1
              ``scaf_shape``  γp / (p + γ)²,  p = π(y_t | x),  γ = 0.1: the gradient of p / (p + γ)

Different from the paper: it hints within the step, so that the hinted success replaces a row of the very group that
failed. Here the hint is found between two epochs, and its row is drawn in the next one, where it may fail; it then gets
no gradient. In ``scaf_sft`` the row's advantage stands in front of the gradient of supervised learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..credit import Credit
from ..hard import Tally
from ..samples import RolloutFn, Sample
from ..settings import LoopSettings
from ..solutions import beginning
from .base import EpochEnd, Method
from .shown import LEVELS

if TYPE_CHECKING:
    import torch

LOG_CLIP = 5.0
HEADING = "A hint for the question below:"


def sequence_weight(
    bare_logps_BT: torch.Tensor, hinted_logps_BT: torch.Tensor, hinted_B: torch.Tensor, solved_B: torch.Tensor
) -> torch.Tensor:
    """(B, T) exp(clip(Σ_t log r_t, ±5)) on all tokens of a hinted row; 1 on bare rows. (Padding is 0 on both.)"""
    from ..distill import log_ratio

    ratio_B = log_ratio(bare_logps_BT, hinted_logps_BT).sum(1).clamp(-LOG_CLIP, LOG_CLIP).exp()
    return ratio_B.where(hinted_B.bool(), 1.0)[:, None].expand(bare_logps_BT.shape)


def weakest_hints(samples: Sequence[Sample], roll_out: RolloutFn) -> dict[str, str]:
    """Sample id → the weakest hint with which a rollout is solved; samples that no hint helps are not in it."""
    found: dict[str, str] = {}
    for level in range(1, LEVELS + 1):
        shown = [(beginning(sample, level, LEVELS), sample) for sample in samples if sample.id not in found]
        pairs = [(f"{HEADING}\n{steps}", sample) for steps, sample in shown if steps]
        rollouts = roll_out(pairs) if pairs else []
        found |= {sample.id: hint for (hint, sample), r in zip(pairs, rollouts, strict=True) if r.solved}
    return found


class Scaf(Method):
    """One row of a failed group drawn under the weakest hint that works.

    Raises:
        ConfigError: a sample has no solution.
    """

    given = "solutions"

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        self.hints: dict[str, str] = {}

    def prompts(self, sample_id: str) -> Sequence[str]:
        hint = self.hints.get(sample_id)
        return [""] * (self.group_size - 1) + [hint] if hint else ()

    def credit(self, epoch: int) -> Credit:
        return Credit(sequence_weight, drop_failed=True)

    def rolls_out(self, tallies: Mapping[str, Tally]) -> bool:
        return any(tally.bare_solved == 0 for tally in tallies.values())

    def between_epochs(self, end: EpochEnd) -> None:
        failed = [self.samples[i] for i, tally in sorted(end.tallies.items()) if tally.bare_solved == 0]
        self.hints = weakest_hints(failed, end.tools.roll_out)
        end.summary.notes.append(f"a hint solves {len(self.hints)} of {len(failed)} samples that failed")

    def state_dict(self) -> dict[str, Any]:
        return {"hints": self.hints}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.hints = dict(state["hints"])


class ScafSft(Scaf):
    """Scaf with weight 1 on the hinted row."""

    def credit(self, epoch: int) -> Credit:
        return Credit(drop_failed=True)


class ScafShape(Scaf):
    """Scaf with policy shaping on the hinted row."""

    def credit(self, epoch: int) -> Credit:
        from ..distill import shaped_weight

        shaped = partial(shaped_weight, gamma=self.settings.shape_gamma)
        return Credit(lambda bare, _, rows, __: shaped(bare, rows), drop_failed=True)
