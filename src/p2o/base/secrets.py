"""Keys and passwords are taken out of what others say, before it is written or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from .text import clean_text, one_line

_HIDDEN = "***"
_MOST_READ = 10_000
"""Characters of a message that are looked at."""

_LEAST_SECRET = 6
"""A shorter value is no secret, and may stand in any text."""

_NAME = r"(?:api[-_ ]?key|token|secret|password|passwd|credentials?|authorization)"
_SECRET_VARIABLE = re.compile(rf"(?:^|_)(?:key|{_NAME})$", re.I)

_PATTERNS = (
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), _HIDDEN),  # user and password of a URL
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{6,}", re.I), rf"\1 {_HIDDEN}"),
    (
        re.compile(rf"""(?<![A-Za-z])({_NAME}["']?\s*[:=]\s*["']?)(?!\d+\b)[^\s"'&,;)}}\]]{{6,}}""", re.I),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"\b(?:sk|pk|rk|gsk|hf|ghp|xai|glpat)[-_][\w-]{8,}"), _HIDDEN),  # keys as providers make them
)


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with ``***`` in place of keys and passwords.

    Hidden are the known ones, the values of environment variables whose names say so (``…_API_KEY``, ``…_TOKEN``),
    and what looks like one: user and password of a URL, ``Bearer …``, ``api_key=…``, ``sk-…``.
    """
    environment = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)]
    for secret in sorted({*known, *environment}, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, _HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def quotable(text: object, known: Iterable[str] = ()) -> str:
    """What somebody else said about a failure (a server's message, an exception), fit to be written and shown: without
    secrets and control characters, on one line, at most 200 characters."""
    return one_line(without_secrets(clean_text(str(text)[:_MOST_READ]), known))
