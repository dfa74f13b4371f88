"""A fingerprint of training data, kept in a checkpoint: a resumed run must train on the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.samples import Sample

PARTS = {
    "ids": "the rows or their order",
    "prompts": "prompts",
    "answers": "answers",
    "columns": "other columns",
}
"""What is compared, and how a difference in it is named."""


def fingerprint(samples: Sequence[Sample]) -> dict[str, Any]:
    """Digests of the data, part by part."""
    return {
        "rows": len(samples),
        "ids": _digest(s.id for s in samples),
        "prompts": _digest([s.text, [dict(m) for m in s.messages]] for s in samples),
        "answers": _digest(s.answer for s in samples),
        "columns": _digest(dict(s.columns) for s in samples),
    }


def data_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """How the data differs from what it was; None if it does not."""
    if before["rows"] != now["rows"]:
        return f"it had {before['rows']:,} rows and has {now['rows']:,}"
    changed = [words for part, words in PARTS.items() if before[part] != now[part]]
    return f"{' and '.join(changed)} differ" if changed else None


def _digest(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=repr, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()[:32]
