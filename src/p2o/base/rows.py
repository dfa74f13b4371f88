"""A file of JSON rows that grows while a run goes on, such as the rows of its log."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import StateError
from .files import unwritable, write_text

METRICS_FILE = "metrics.jsonl"
"""All figures of each logging step, evaluation and epoch of a run."""

Row = Mapping[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes the file anew, with these rows.

    Raises:
        StateError: it cannot be written.
    """
    write_text(path, "".join(map(_line, rows)))


def append_row(path: Path, row: Row) -> None:
    """Adds one row.

    Raises:
        StateError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(_line(row))
    except OSError as error:
        raise unwritable(path, error) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows; empty without a file. A last row that a killed process left unfinished is left out.

    Raises:
        StateError: a whole row is damaged.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        return [dict(json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise StateError(f"{path} is damaged ({error}); remove it to do without it") from error


def _line(row: Row) -> str:
    return json.dumps(row, default=float) + "\n"
