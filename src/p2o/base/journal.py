"""Append-only records that survive SIGKILL."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ..errors import StateError
from .files import unwritable


def digest(*parts: object) -> str:
    """A short stable hash of JSON-able parts."""
    data = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:24]


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
                raise StateError(f"{path}, line {number} is damaged; use a new folder") from e

    def append(self, *events: dict[str, Any]) -> None:
        """Write the events and wait until they are on the disk."""
        try:
            with self.path.open("a", encoding="utf-8") as f:
                f.write("".join(json.dumps(e) + "\n" for e in events))
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise unwritable(self.path, e) from e
        self.events += events
