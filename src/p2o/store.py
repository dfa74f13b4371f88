"""State files: JSON, written atomically, with a schema version."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .errors import StateError

SCHEMA = 1


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes ``content`` so that a reader sees the old file or the new one, never a part (fsync, then rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump({"schema": SCHEMA, **content}, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads what `write_json` wrote.

    Raises:
        StateError: the file is not there, truncated, foreign or of another schema version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StateError(f"cannot read the state file {path}: {error.strerror}") from error
    except ValueError as error:
        raise StateError(f"the state file {path} is truncated or not JSON; use an older checkpoint") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else None
        raise StateError(
            f"the state file {path} has schema {found!r}, this version reads {SCHEMA}; "
            "use the version of p2o that wrote it, or an older checkpoint"
        )
    del content["schema"]
    return content
