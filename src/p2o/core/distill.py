"""Context distillation: the ratio mask (P²O, section "context distillation"; pure torch).

Rollouts drawn from T(x, z) are trained on the bare prompt x. A token whose probability differs too much between
the two prompts says little about what the bare policy would do, so its loss is dropped (hard) or damped (soft).
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


def engine_ratio(
    trainer_logps_BT: torch.Tensor,
    engine_logps_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    mode: str,
    low: float | None,
    high: float | None,
) -> torch.Tensor:
    """Weight of rollouts that an inference engine generated: π_trainer(y | prompt) / π_engine(y | prompt), bounded.

    Args:
        trainer_logps_BT, engine_logps_BT: (B, T) log-probs of the same tokens on the same prompt, T(x, z) for rows
            drawn under a template. NaN (the engine gave no log-prob) gives
            the ratio 1.
        mask_BT: (B, T) 1 on completion tokens.
        mode: TRL's ``vllm_importance_sampling_mode``: it says two things. The ratio is that of a token, or of a
            whole sequence (the product over its tokens). Outside of [low, high] it is clamped (``truncate``) or set to
            0 (``mask``).
        low, high: None is unbounded.

    Returns:
        (B, T) for tokens, (B, 1) for sequences.
    """
    level, _, bound = mode.partition("_")
    log_r = ((trainer_logps_BT.float() - engine_logps_BT.float()) * mask_BT).nan_to_num(nan=0.0)
    if level == "sequence":
        log_r = log_r.sum(1, keepdim=True)
    r = log_r.exp()
    bounded = r.clamp(0.0 if low is None else low, high)
    return bounded if bound == "truncate" else torch.where(bounded == r, r, torch.zeros_like(r))
