"""Context distillation: what a token's loss weighs (pure torch).

Rollouts drawn from T(x, z) are trained on the bare prompt x. A token whose probability differs too much between
the two prompts says little about what the bare policy would do: P²O's ratio mask drops its loss (section "context
distillation"). But what a template unlocks often begins with just such a token; the other weights are ways to keep it.

r_t = π_old(y_t | x) / π_old(y_t | T(x, z)) throughout.
"""

from __future__ import annotations

import torch

MAX_LOG_RATIO = 60.0
"""Log-ratios are clamped to ±60: exp(±60) is finite in float32, and outside of any useful bound."""

LEAST_LOGP = -65504.0
"""The least finite number of half precision."""


def log_ratio(bare_logps_BT: torch.Tensor, templated_logps_BT: torch.Tensor) -> torch.Tensor:
    """log π_old(y_t | x) − log π_old(y_t | T(x, z)) in float32, clamped so that its exponential is finite.

    Log-probs that overflowed to −∞ in half precision count as very small (∞ − ∞ would be NaN); NaN stays NaN.
    """
    bare, templated = (logps.float().clamp(min=LEAST_LOGP) for logps in (bare_logps_BT, templated_logps_BT))
    return (bare - templated).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def ratio_mask(
    bare_logps_BT: torch.Tensor,
    templated_logps_BT: torch.Tensor,
    templated_B: torch.Tensor,
    low: float = 0.01,
    high: float = 10.0,
    soft: bool = False,
    soft_max: float = 10.0,
) -> torch.Tensor:
    """Weight of each token's loss.

    Args:
        bare_logps_BT: (B, T) log π_old(y_t | x).
        templated_logps_BT: (B, T) log π_old(y_t | T(x, z)); its bare rows are ignored.
        templated_B: (B,) bool, which rollouts were drawn under a template.
        low, high: bounds of the ratio r = π_old(y_t | x) / π_old(y_t | T(x, z)).
        soft: min(clamp(r, low, high) / r, soft_max) instead of 0 outside the bounds. The reference leaves the
            weight of r < low unbounded; ``soft_max`` bounds it.

    Returns:
        (B, T) float32; hard: 0 or 1; 1 on bare rows; finite for any finite log-probs.
    """
    log_r = log_ratio(bare_logps_BT, templated_logps_BT)
    bounds = torch.tensor([low, high], dtype=torch.float32, device=log_r.device).log()
    if soft:
        mask = (log_r.clamp(bounds[0], bounds[1]) - log_r).exp().clamp(max=soft_max)
    else:
        mask = ((log_r >= bounds[0]) & (log_r <= bounds[1])).float()
    return torch.where(templated_B[:, None].bool(), mask, torch.ones_like(mask))


def solved_mask(
    bare_logps_BT: torch.Tensor,
    templated_logps_BT: torch.Tensor,
    templated_B: torch.Tensor,
    solved_B: torch.Tensor,
    low: float = 0.01,
    high: float = 10.0,
) -> torch.Tensor:
    """The ratio mask, but a solved rollout keeps its tokens with r < ``low``.

    They are what the bare policy has to learn. In a solved rollout their gradient, A ∇ log π(y_t | x), is that of
    supervised learning and bounded. In a failed one it would push down what is unlikely already, without a bound.

    Args:
        solved_B: (B,) bool.

    Returns:
        (B, T) float32, 0 or 1; 1 on bare rows.
    """
    mask_BT = ratio_mask(bare_logps_BT, templated_logps_BT, templated_B, low, high)
    below_BT = log_ratio(bare_logps_BT, templated_logps_BT) < torch.tensor(low, dtype=torch.float32).log()
    return torch.where(below_BT & solved_B[:, None].bool(), torch.ones_like(mask_BT), mask_BT)


def shaped_weight(bare_logps_BT: torch.Tensor, templated_B: torch.Tensor, gamma: float = 0.1) -> torch.Tensor:
    """Policy shaping (LUFFY, arXiv 2504.14945): the loss is −A f(p) with f(p) = p / (p + γ), p = π(y_t | x).

    Its gradient is A · γp / (p + γ)² · ∇ log p. This is that factor at the old policy.

    Returns:
        (B, T) float32 in [0, 1/4]; 1 on bare rows.
    """
    p_BT = bare_logps_BT.float().exp()
    return torch.where(templated_B[:, None].bool(), gamma * p_BT / (p_BT + gamma) ** 2, torch.ones_like(p_BT))
