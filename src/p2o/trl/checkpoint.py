"""Finds the checkpoints that are whole. A manifest with the size and checksum of every file is written last."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..base.files import read_json, write_json
from ..errors import StateError

STATE_FILE = "p2o_state.json"
MANIFEST = "p2o_manifest.json"
CHUNK = 1 << 22


def write_manifest(checkpoint: Path) -> None:
    """Lists all files of a checkpoint. It is called last: files that are added later are not checked."""
    files = {
        str(path.relative_to(checkpoint)): {"bytes": path.stat().st_size, "crc32": checksum(path)}
        for path in _files(checkpoint)
    }
    write_json(checkpoint / MANIFEST, {"files": files})


def _files(checkpoint: Path) -> Iterator[Path]:
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name not in (MANIFEST, "README.md") and not path.name.startswith("."):
            yield path


def checksum(path: Path) -> int:
    """CRC-32 of a file. It is fast, and finds damage, but not deliberate changes."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def damage(checkpoint: Path, deep: bool = False) -> str | None:
    """What is wrong with a checkpoint; None if a run can continue from it.

    Args:
        deep: compare the checksums too. This reads all files.
    """
    try:
        listed = read_json(checkpoint / MANIFEST)["files"]
        if STATE_FILE not in listed:
            return f"its manifest names no {STATE_FILE}"
        for name, facts in listed.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has {path.stat().st_size:,} bytes instead of {facts['bytes']:,}"
            if deep and checksum(path) != facts["crc32"]:
                return f"{name} is damaged (its checksum differs)"
    except StateError:
        return f"it has no readable {MANIFEST}, the last file to be written: it is not whole, or holds only weights"
    except (OSError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return None


def checkpoints(run_dir: Path) -> list[Path]:
    """All ``checkpoint-N`` folders, the newest last."""
    found = [p for p in run_dir.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rpartition("-")[2]))


def latest_checkpoint(run_dir: Path) -> str | None:
    """The newest whole checkpoint, by the sizes of its files; None if there is none."""
    return next((str(p) for p in reversed(checkpoints(run_dir)) if damage(p) is None), None)


def choose_checkpoint(run_dir: Path) -> tuple[str | None, list[str]]:
    """(the newest checkpoint that is whole by its checksums, what is wrong with each newer one)."""
    left: list[str] = []
    for path in reversed(checkpoints(run_dir)):
        wrong = damage(path, deep=True)
        if wrong is None:
            return str(path), left
        left.append(f"{path} cannot be continued from: {wrong}")
    return None, left


def check_checkpoint(checkpoint: Path) -> None:
    """Raises StateError, naming a checkpoint that can be used, unless a run can continue from this one."""
    wrong = damage(checkpoint, deep=True)
    if wrong is None:
        return
    other, _ = choose_checkpoint(checkpoint.parent)
    raise StateError(
        f"{checkpoint} cannot be continued from: {wrong}; "
        + (f"use {other}" if other else "there is no other whole one, so start a new run")
    )


def trainer_state(checkpoint: Path) -> dict[str, Any]:
    """HF's ``trainer_state.json``."""
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return state
