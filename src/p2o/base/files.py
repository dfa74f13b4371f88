"""State files: JSON, written atomically, with a schema version."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StateError

SCHEMA = 1
LINE = 120
"""In characters."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
_CONTAINERS = {dict, list, tuple}


def write_json(path: Path, content: dict[str, Any], schema: int = SCHEMA) -> None:
    """Writes ``content`` so that a reader sees the old file or the new one, never a part (fsync, then rename).

    Args:
        schema: number of the content's shape. A reader refuses another one.
    """
    write_text(path, as_lines({"schema": schema, **content}))


def as_lines(value: Any, margin: str = "\n ") -> str:
    """JSON that a person can read and that is written fast: what holds no other list or object, and fits, stands on
    one line; else each entry begins a line."""
    if not value or type(value) not in _CONTAINERS:
        return _encode(value)
    entries = value.values() if isinstance(value, dict) else value
    if _CONTAINERS.isdisjoint(map(type, entries)) and len(line := _encode(value)) <= LINE:
        return line
    lines = [as_lines(entry, margin + " ") for entry in entries]
    if not isinstance(value, dict):
        return f"[{margin}{f',{margin}'.join(lines)}{margin[:-1]}]"
    names = (_encode(name if isinstance(name, str) else str(name)) for name in value)
    pairs = (f"{name}: {line}" for name, line in zip(names, lines, strict=True))
    return f"{{{margin}{f',{margin}'.join(pairs)}{margin[:-1]}}}"


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` atomically.

    Raises:
        StateError: it cannot be written (full disk, no permission); the old file is intact.
    """
    if not path.name or path.is_dir():
        raise StateError(f"cannot write {path}: it is a folder; give the name of a file")
    temporary = path.with_name(f".{path.name}.tmp")  # the next write overwrites the file that a killed write left
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A served model may send lone surrogates; they are written as JSON escapes.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise unwritable(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Waits until a rename in the folder is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> StateError:
    """The error for a state file that cannot be written."""
    return StateError(
        f"cannot write {path} ({error.strerror}); make room, or write to another folder, then start again"
    )


def read_json(path: Path, schema: int = SCHEMA) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
        StateError: the file is missing, truncated, not one of ours, or of another schema version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StateError(f"cannot read the state file {path}: {error.strerror}") from error
    except ValueError as error:
        raise StateError(
            f"the state file {path} is truncated or not JSON; use another one, or an older checkpoint"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != schema:
        found = content.get("schema") if isinstance(content, dict) else None
        raise StateError(
            f"the state file {path} has schema {found!r}, this version reads {schema}; "
            "use the version of p2o that wrote it, or an older checkpoint"
        )
    del content["schema"]
    return content
