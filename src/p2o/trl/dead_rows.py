"""Rollouts without advantage cost nothing: they are left out of the forward and backward pass.

A row whose advantages are all zero adds nothing to the policy loss. So the loss of the other rows, divided by the full
batch's denominator, has the same value and the same gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from .batch import model_tokens
from .kl import TEACHER

Inputs = dict[str, Any]

ROW_MEAN = ("grpo", "sapo", "luspo", "dr_grpo")
"""Loss types that divide by the number of rows."""
TOKEN_MEAN = ("bnpo",)
"""Loss types that divide by the number of completion tokens in the micro-batch."""
FIXED = ("dapo", "cispo", "vespo")
"""Loss types whose denominator does not depend on the micro-batch."""


LOSS_TYPES = ROW_MEAN + TOKEN_MEAN + FIXED


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether the model has dropout. A row's gradient then depends on the other rows of its batch."""
    drops = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    return drops or bool(getattr(getattr(model, "config", None), "attention_dropout", 0))


def live_rows(inputs: Inputs) -> list[int]:
    """Rows of a micro-batch with a non-zero advantage, or a KL term, on some token."""
    advantages = inputs["advantages"]
    alive_B = (advantages != 0) if advantages.dim() == 1 else (advantages != 0).any(dim=1)
    if "teacher_mask" in inputs:
        alive_B = alive_B | inputs["teacher_mask"].any(dim=1)
    return alive_B.nonzero()[:, 0].tolist()


def rows_to_keep(live: list[int], total: int, at_least: int) -> list[int]:
    """The live rows, filled up with dead ones to ``at_least`` rows (all ranks need the same number, at least one)."""
    dead = [n for n in range(total) if n not in set(live)]
    return sorted(live + dead[: max(0, at_least - len(live))])


def take_rows(inputs: Inputs, rows: list[int]) -> Inputs:
    """These rows of a micro-batch, without columns that are padding in all of them."""
    taken = {name: _rows_of(value, rows) for name, value in inputs.items()}
    width = inputs["completion_ids"].size(1)
    length = max(1, int(taken["completion_mask"].sum(1).max()))
    padding = int((taken["prompt_mask"].sum(0) == 0).sum())  # prompts are padded on the left
    for name, value in taken.items():
        if not isinstance(value, torch.Tensor) or (value.dim() != 2 and name not in TEACHER):
            continue
        if name.startswith("prompt"):
            taken[name] = value[:, padding:]
        elif value.size(1) == width:
            taken[name] = value[:, :length]
    return taken


def _rows_of(value: Any, rows: list[int]) -> Any:
    """These rows of one field. Lists, and tensors with at least one dimension, have an entry for each row (TRL's
    ``shuffle_sequence_dict`` has the same rule)."""
    if isinstance(value, torch.Tensor):
        return value[rows] if value.dim() > 0 else value
    return [value[n] for n in rows] if isinstance(value, list) else value


def share_of_denominator(inputs: Inputs, kept: Inputs, loss_type: str) -> float:
    """Factor by which the kept rows' loss is multiplied, so that it is divided by the full batch's denominator."""
    if loss_type in ROW_MEAN:
        return kept["completion_ids"].size(0) / inputs["completion_ids"].size(0)
    if loss_type in TOKEN_MEAN:
        return max(1.0, float(model_tokens(kept).sum())) / max(1.0, float(model_tokens(inputs).sum()))
    return 1.0
