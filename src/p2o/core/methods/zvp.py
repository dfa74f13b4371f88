"""RL-ZVP (arXiv 2509.21880, equation 5): groups without spread get small advantages of their own.

    all solved   A_it =  α H_it
    all failed   A_it = −α (max_k H_ik − H_it)                                                                    hook 3

H_it is the entropy of the old policy at token t of rollout i, without gradient, and α = 0.1. So where all was right the
tokens at which the policy hesitated are made likelier, and where all was wrong the tokens of which it was sure are made
less likely. Groups with a spread keep GRPO's advantages.

The paper computes the entropies in the pass for the old log-probs. TRL makes no such pass when every batch is trained
once; then they take one more forward pass over these rows, which is counted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..credit import Credit
from .base import Method

if TYPE_CHECKING:
    import torch


class ZVP(Method):
    """GRPO with advantages for groups that are all solved or all failed, from the entropies of their tokens."""

    needs_trl = True
    alpha = 0.1

    def credit(self, epoch: int) -> Credit:
        return Credit(flat=partial(flat_advantages, alpha=self.alpha))


def flat_advantages(
    entropies_BT: torch.Tensor, tokens_BT: torch.Tensor, solved_B: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Advantages of rollouts whose group has no spread.

    Args:
        entropies_BT: (B, T) entropy of the policy at each token, in nats.
        tokens_BT: (B, T) 1 on the tokens that the model wrote.
        solved_B: (B,) bool, whether the group is all solved; else it is all failed.

    Returns:
        (B, T) float32; 0 outside of the tokens.
    """
    kept_BT = entropies_BT.float() * tokens_BT  # entropies are at least 0, so padding is never the largest
    most_B1 = kept_BT.amax(dim=1, keepdim=True)
    signed_BT = kept_BT.where(solved_B[:, None].bool(), kept_BT - most_B1)
    return alpha * signed_BT * tokens_BT
