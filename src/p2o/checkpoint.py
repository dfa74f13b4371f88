"""Finding a whole checkpoint. No engine."""

from __future__ import annotations

import json
from pathlib import Path

STATE_FILE = "p2o_state.json"


def is_whole(checkpoint: Path) -> bool:
    """Our state is written first and HF's ``trainer_state.json`` last, so a checkpoint with both parseable is whole."""
    try:
        for name in (STATE_FILE, "trainer_state.json"):
            json.loads((checkpoint / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def checkpoints(run_dir: Path) -> list[Path]:
    """All ``checkpoint-N`` folders, the newest last."""
    found = [p for p in run_dir.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rpartition("-")[2]))


def latest_checkpoint(run_dir: Path) -> str | None:
    """The newest whole checkpoint; None if there is none."""
    return next((str(p) for p in reversed(checkpoints(run_dir)) if is_whole(p)), None)
