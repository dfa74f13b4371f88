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

MIN_REST = 1e-6
"""A smaller rest of a distribution is rounding."""

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


def forward_kl(
    student_logps_NV: torch.Tensor, teacher_ids_NK: torch.Tensor, teacher_logps_NK: torch.Tensor, clip: float
) -> torch.Tensor:
    """KL(teacher ‖ student) at N tokens, from the teacher's K likeliest tokens; all others are taken together as one.

    Args:
        student_logps_NV: log-probs on the bare prompt, over the vocabulary of V tokens.
        teacher_ids_NK, teacher_logps_NK: of the same policy under the template, without gradient.
        clip: a token whose KL is larger is scaled down to it, so that no single token rules the step; its gradient
            keeps its direction.

    Returns:
        (N,) nats, at least 0 and at most ``clip``.
    """
    student_NK = student_logps_NV.gather(-1, teacher_ids_NK)
    teacher_NK = teacher_logps_NK.float()
    kl_N = (teacher_NK.exp() * (teacher_NK - student_NK)).sum(-1)
    teacher_rest_N = log_rest(teacher_NK)
    kl_N = kl_N + teacher_rest_N.exp() * (teacher_rest_N - log_rest(student_NK))
    return kl_N * (clip / kl_N.detach().clamp(min=clip))


def log_rest(logps_NK: torch.Tensor) -> torch.Tensor:
    """(N,) log of the probability that K tokens leave to all others, at least ``MIN_REST``."""
    return (1 - logps_NK.exp().sum(-1)).clamp(min=MIN_REST).log()


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
