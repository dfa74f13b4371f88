"""The distribution of the ratios of templated tokens, for trackers and the report."""

from __future__ import annotations

import math

import torch

RATIO_PERCENTILES = (1, 10, 50, 90, 99)
"""Quantiles of the ratio that are logged."""


def ratio_metrics(log_ratios: torch.Tensor, low: float, high: float) -> dict[str, float]:
    """Shares of tokens outside the mask's bounds, and quantiles of the ratio; empty without tokens.

    Args:
        log_ratios: (N,) natural logarithms, without NaN.
        low, high: bounds of the ratio.
    """
    if not log_ratios.numel():
        return {}
    figures = {
        "p2o/ratio_below": (log_ratios < math.log(low)).float().mean().item(),
        "p2o/ratio_above": (log_ratios > math.log(high)).float().mean().item(),
    }
    for percent in RATIO_PERCENTILES:
        quantile = log_ratios.kthvalue(max(1, math.ceil(percent / 100 * log_ratios.numel()))).values
        figures[f"p2o/ratio_q{percent:02d}"] = quantile.exp().item()
    return figures
