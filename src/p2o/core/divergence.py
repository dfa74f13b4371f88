"""Divergence of one policy on two prompts, from the likeliest tokens of one of them (pure torch)."""

from __future__ import annotations

import torch

MIN_REST = 1e-6
"""A smaller rest of a distribution is rounding."""


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


def reverse_kl(
    student_logps_NV: torch.Tensor, teacher_ids_NK: torch.Tensor, teacher_logps_NK: torch.Tensor, clip: float
) -> torch.Tensor:
    """KL(student ‖ teacher) at N tokens; arguments and result as in `forward_kl`."""
    student_NK, teacher_NK = student_logps_NV.gather(-1, teacher_ids_NK), teacher_logps_NK.float()
    student_rest_N = log_rest(student_NK)
    kl_N = (student_NK.exp() * (student_NK - teacher_NK)).sum(-1)
    kl_N = kl_N + student_rest_N.exp() * (student_rest_N - log_rest(teacher_NK))
    return kl_N * (clip / kl_N.detach().clamp(min=clip))


def log_rest(logps_NK: torch.Tensor) -> torch.Tensor:
    """(N,) log of the probability that K tokens leave to all others, at least ``MIN_REST``."""
    return (1 - logps_NK.exp().sum(-1)).clamp(min=MIN_REST).log()
