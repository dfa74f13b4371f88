"""Suggests names for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """`` (did you mean …?)`` with the names that are most similar to ``name``, or ""."""
    close = difflib.get_close_matches(name, list(names), n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
