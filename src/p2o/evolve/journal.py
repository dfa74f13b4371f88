"""Append-only records that survive SIGKILL, and files that are there in full or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from p2o.errors import StateError


def digest(*parts: object) -> str:
    """A short stable hash of JSON-able parts."""
    data = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:24]


def write_json(path: Path, value: Any) -> None:
    """Write atomically: temporary file, fsync, rename, fsync of the folder."""
    tmp = path.with_name(path.name + ".tmp")
    try:
        with tmp.open("w", encoding="utf-8") as f:
            json.dump(value, f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        os.replace(tmp, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        raise _cannot_write(path, e) from e


def _cannot_write(path: Path, error: OSError) -> StateError:
    return StateError(f"{path} cannot be written ({error.strerror}): make room, then start the run again, it goes on.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; StateError when it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise StateError(f"{path} cannot be read ({type(e).__name__}): delete it, or use a new folder.") from e
    if not isinstance(value, dict):
        raise StateError(f"{path} holds no JSON object: delete it, or use a new folder.")
    return value


class Journal:
    """A JSONL file of events. Opening it drops a torn last line, so that the next append starts clean."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        if not path.exists():
            path.touch()
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self.events.append(json.loads(line))
            except ValueError as e:
                raise StateError(f"{path}, line {number} is damaged: use a new folder.") from e

    def append(self, *events: dict[str, Any]) -> None:
        """Write the events and wait until they are on the disk."""
        try:
            with self.path.open("a", encoding="utf-8") as f:
                f.write("".join(json.dumps(e) + "\n" for e in events))
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise _cannot_write(self.path, e) from e
        self.events += events
