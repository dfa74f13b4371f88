"""Solutions as off-policy rows (LUFFY, arXiv 2504.14945): one of the K rows of each group is a solution y*.

    rows       K - 1 rollouts from x, and y*; r = their rewards                                     hook prompt
    advantage  A_i = (r_i - mean(r)) / (std(r) + ε) over all K rows
    loss       - Σ_t A_i f(p_t) on y*,  f(p) = p / (p + γ),  p_t = π(y*_t | x),  γ = 0.1,
               whose gradient is that of a token with the weight γ p_t / (p_t + γ)²                 hook credit
               (the rollouts keep GRPO's loss)

Without f a row from elsewhere needs the ratio π / π_of_the_data; LUFFY takes the latter as 1, and f raises the gradient
of unlikely tokens against p_t.

Different from the paper: a solution whose reward is too small to count as solved gets no gradient; the weight is that
of the policy before the step; the advantage is divided by the group's standard deviation as the recipe says.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..credit import Credit
from ..given import Given
from ..solutions import solution_of
from .base import Method


class Luffy(Method):
    """One row of each group is a solution.

    Raises:
        ConfigError: a sample has no solution.
    """

    given = "solutions"
    needs_trl = True

    def prompts(self, sample_id: str) -> Sequence[str]:
        return [""] * (self.group_size - 1) + [Given(solution_of(self.samples[sample_id]))]

    def credit(self, epoch: int) -> Credit:
        from ..distill import shaped_weight

        gamma = self.settings.shape_gamma
        return Credit(lambda bare, _, rows, __: shaped_weight(bare, rows, gamma), drop_failed=True)
