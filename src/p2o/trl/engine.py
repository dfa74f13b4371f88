"""vLLM as TRL runs it: room for an evolution's bursts, and the correction of templated rows for the engine's mismatch.

The engine computes log-probs with other kernels than the trainer, so TRL weighs each rollout by
π_trainer(y | prompt) / π_engine(y | prompt). For a rollout drawn from T(x, z) both must be taken on T(x, z).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from ..core.engine_ratio import engine_ratio
from .batch import EngineLogps, TokenLogps, model_tokens

MIN_SEQUENCES = 256
"""A colocated engine runs at least this many sequences at once: vLLM's own default on most GPUs."""


class RoomyEngine(VLLMGeneration):
    """A colocated engine for larger batches. TRL sets ``max_num_seqs`` to one training batch; an evolution sends more
    sequences at once, and they would have to wait."""

    def __init__(self, *args: Any, max_num_seqs: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, max_num_seqs=max(max_num_seqs or 0, MIN_SEQUENCES), **kwargs)


@contextmanager
def roomy_engine() -> Iterator[None]:
    """A GRPOTrainer that is constructed inside this context gets a `RoomyEngine`."""
    before = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = RoomyEngine
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = before


def hold_back(logps: list[EngineLogps], templates: Sequence[str]) -> tuple[list[EngineLogps], list[EngineLogps]]:
    """(for TRL, for us): the log-probs of bare rows and those of templated ones.

    TRL compares the engine's log-probs with the trainer's on x. For templated rows TRL gets None, so its correction for
    them is exactly 1. `EngineCorrection` then writes the right one.
    """
    for_trl = [[None] * len(row) if template else row for row, template in zip(logps, templates, strict=True)]
    for_us = [row if template else [] for row, template in zip(logps, templates, strict=True)]
    return for_trl, for_us


@dataclass(frozen=True)
class EngineCorrection:
    """TRL's settings of the correction (``vllm_importance_sampling_*``)."""

    mode: str
    low: float | None
    high: float | None

    def __call__(self, output: dict[str, Any], engine_logps: TokenLogps, templated_BT: torch.Tensor) -> torch.Tensor:
        """Writes the correction of rows generated from T(x, z) into TRL's batch.

        Args:
            output: TRL's batch; its ``importance_sampling_ratio`` ((B, T) or (B, 1)) and ``sampling_per_token_logps``
                (B, T) are changed in templated rows that have an advantage.
            engine_logps: of rows drawn from T(x, z).
            templated_BT: (B, T) the trainer's log π_old(y_t | T(x, z)).

        Returns:
            (N,) |log π_trainer − log π_engine| of the tokens of templated rows.
        """
        live = [n for n, row in engine_logps.rows.items() if row and output["advantages"][n].any()]
        engine_BT = torch.full_like(templated_BT, math.nan)
        for n in live:
            row = engine_logps.of(n, engine_BT.size(1), math.nan)
            engine_BT[n, : len(row)] = torch.tensor(row)
        mask_BT = model_tokens(output)
        ratio = output["importance_sampling_ratio"]
        ratio[live] = engine_ratio(
            templated_BT[live], engine_BT[live], mask_BT[live], mode=self.mode, low=self.low, high=self.high
        ).to(ratio.dtype)
        # TRL's off-policy mask compares the sampling log-probs with the current ones on x, so the engine's are
        # converted to x.
        mismatch_BT = templated_BT - engine_BT
        output["sampling_per_token_logps"][live] = (output["old_per_token_logps"] - mismatch_BT)[live].float()
        return mismatch_BT[mask_BT.bool() & ~mismatch_BT.isnan()].abs()


def mismatch_metrics(differences: torch.Tensor, accelerator: Any) -> dict[str, float]:
    """Mean and largest |log π_trainer − log π_engine| of templated rows, over the tokens of all ranks (collective)."""
    largest = differences.max() if differences.numel() else differences.new_zeros(())
    local = torch.stack([differences.sum(), differences.new_tensor(differences.numel()), largest])
    sums_R, counts_R, largest_R = accelerator.gather(local).view(-1, 3).T
    if not counts_R.sum():
        return {}
    return {
        "p2o/engine_logp_difference/mean": (sums_R.sum() / counts_R.sum()).item(),
        "p2o/engine_logp_difference/max": largest_R.max().item(),
    }
