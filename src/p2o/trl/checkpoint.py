"""Checkpoints: finding a whole one, and what TRL leaves out of them. No engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StateError

if TYPE_CHECKING:
    import torch

STATE_FILE = "p2o_state.json"
TRAINER_STATE = "trainer_state.json"
"""HF's trainer writes it last."""


def is_whole(checkpoint: Path) -> bool:
    """Whether a run can go on from it: our state is written first and HF's ``trainer_state.json`` last, so with both
    parseable nothing is missing. Weights alone (``save_only_model``) are no state to go on from."""
    try:
        for name in (STATE_FILE, TRAINER_STATE):
            json.loads((checkpoint / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return any(checkpoint.glob("rng_state*.pth"))


def checkpoints(run_dir: Path) -> list[Path]:
    """All ``checkpoint-N`` folders, the newest last."""
    found = [p for p in run_dir.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rpartition("-")[2]))


def latest_checkpoint(run_dir: Path) -> str | None:
    """The newest whole checkpoint; None if there is none."""
    return next((str(p) for p in reversed(checkpoints(run_dir)) if is_whole(p)), None)


def check_checkpoint(checkpoint: Path) -> None:
    """Raise StateError, naming an older checkpoint that can be used, unless a run can go on from this one."""
    if is_whole(checkpoint):
        return
    older = latest_checkpoint(checkpoint.parent)
    raise StateError(
        f"{checkpoint} is no checkpoint that a run can go on from (truncated, foreign, or weights alone); "
        + (f"use {older}" if older else "there is no other one, so start a new run")
    )


# The batch of rollouts that serves several steps


def buffer_file(checkpoint: Path, rank: int) -> Path:
    # A safetensors file under another name: vLLM takes every *.safetensors file of a folder for weights.
    return checkpoint / f"p2o_rollouts_{rank}.buffer"


def save_buffer(path: Path, micro_batches: Sequence[Mapping[str, torch.Tensor | None]] | None) -> None:
    """Writes the rollouts that the next steps still train on (TRL would draw new ones after a resume)."""
    from safetensors.torch import save_file

    tensors = {
        f"{n}/{name}": value.detach().cpu().contiguous().clone()  # cloned: the file may not share memory
        for n, batch in enumerate(micro_batches or [])
        for name, value in batch.items()
        if value is not None
    }
    save_file(tensors, str(path))


def load_buffer(path: Path, device: torch.device | str) -> list[dict[str, torch.Tensor]] | None:
    """The inverse of `save_buffer`; None when nothing was buffered."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise StateError(f"cannot read {path} ({error}); use an older checkpoint") from error
    batches: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        batches.setdefault(int(number), {})[name] = value.to(device)
    return [batches[n] for n in sorted(batches)] or None
