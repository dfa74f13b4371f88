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
    """A short hash of JSON-able parts, the same on every machine."""
    data = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:24]


class Journal:
    """A JSONL file of events, JSON-able dicts. Opening it removes an incomplete last line, which a
    killed write left.

    Attributes:
        events: the events in the file, in their order.

    Raises:
        StateError: a whole line is damaged.
    """

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
                event = json.loads(line)
            except (ValueError, RecursionError):
                event = None
            if not isinstance(event, dict):
                raise StateError(f"{path}, line {number} is damaged; use a new folder")
            self.events.append(event)

    def append(self, *events: dict[str, Any]) -> None:
        """Writes the events and waits until they are on the disk.

        Raises:
            StateError: they cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as f:
                f.write("".join(json.dumps(e) + "\n" for e in events))
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise unwritable(self.path, e) from e
        self.events += events
