"""Plain GRPO (DeepSeekMath, arXiv 2402.03300): no hook is used.

    A_i = (r_i - mean(r_1..r_K)) / (std(r_1..r_K) + ε)

In a group whose rewards are all equal, every A_i is 0, and GRPO learns nothing from it.
"""

from __future__ import annotations

from .base import Method


class GRPO(Method):
    """Changes nothing. The ledger is kept and costs are counted, so that other methods can be compared with it."""
