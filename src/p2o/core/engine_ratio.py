"""The weight of rollouts that an inference engine generated (pure torch)."""

from __future__ import annotations

import torch


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
