"""JSON that keeps tuples apart from lists. Imports nothing of the package: a verification process runs it as a file."""

from __future__ import annotations

import json
from typing import Any


def pack_json(value: Any) -> str:
    """JSON that keeps tuples apart from lists (some reasoning-gym scorers compare with tuples)."""

    def mark(item: Any) -> Any:
        if isinstance(item, tuple):
            return {"__tuple__": [mark(part) for part in item]}
        if isinstance(item, list):
            return [mark(part) for part in item]
        if isinstance(item, dict):
            return {key: mark(part) for key, part in item.items()}
        return item

    return json.dumps(mark(value))


def unpack_json(text: str) -> Any:
    """The inverse of `pack_json`."""
    return json.loads(text, object_hook=lambda item: tuple(item["__tuple__"]) if item.keys() == {"__tuple__"} else item)
