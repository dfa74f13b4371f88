"""Self-distillation on the policy's own rollouts: the policy that has read the solution is the teacher.

    rollouts   y from the bare prompt x; their rewards are recorded and not trained on
    teacher    q_t = π(· | x', y_<t) with x' = (solution, x), the weights of the step, without gradient
    student    p_t = π(· | x, y_<t)
    loss       λ mean over all tokens of   KL(p_t ‖ q_t)   ``sdft`` (SDFT, arXiv 2601.19897)        hook credit
                                           KL(q_t ‖ p_t)   ``opsd`` (OPSD, arXiv 2601.18734)

KL is taken over the teacher's k likeliest tokens, all others together as one, and is at most c for a token: tokens of
style carry far more of it than tokens of mathematics (settings ``kl_weight`` λ, ``kl_top_k`` k, ``kl_clip`` c).

Different from the papers: there the teacher's weights stay behind (SDFT: a moving average; OPSD: the starting weights),
and the teacher's prompt says at more length what it is to do with the solution. Here both have the weights of the step.
"""

from __future__ import annotations

from ..credit import Credit
from ..kl_term import KlTerm
from .base import Method
from .hdpo import privileged


class SDFT(Method):
    """Reverse KL from the bare rollouts to the same policy with the solution.

    Raises:
        ConfigError: a sample has no solution.
    """

    given = "solutions"
    needs_trl = True
    reverse = True

    def _teacher(self, sample_id: str) -> str:
        return privileged(self.samples[sample_id])

    def credit(self, epoch: int) -> Credit:
        settings = self.settings
        term = KlTerm(settings.kl_weight, settings.kl_top_k, settings.kl_clip, self.reverse, self._teacher, alone=True)
        return Credit(kl=term)


class OPSD(SDFT):
    """Forward KL instead."""

    reverse = False
