"""Removes keys, tokens and passwords from text that is written to files or shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from .text import clean_text, one_line

HIDDEN = "***"

_LEAST_SECRET = 6
"""A shorter value is not treated as a secret: it may occur in any text."""

_MOST_READ = 10_000
"""Only this many characters of a message from outside are read."""

_NAME = r"(?:api[-_ ]?key|token|secret|password|passwd|credentials?|authorization)"
_SECRET_NAME = re.compile(rf"(?:.*_)?(?i:{_NAME})|(?:[A-Z0-9_]*_)?KEY")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_QUERY_VALUE = re.compile(r"(?<==)[^&#]+")
_WRITTEN = (
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{6,}", re.I), rf"\1 {HIDDEN}"),
    (re.compile(rf"(?<![A-Za-z])({_NAME}[\"']?\s*[:=]\s*[\"']?)(?!\d+\b)[^\s\"'&,;)}}\]]{{6,}}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b(?:sk|pk|rk|gsk|hf|ghp|xai|glpat)[-_][\w-]{8,}"), HIDDEN),  # the forms of providers' keys
)


def is_secret(name: str) -> bool:
    """Whether a setting or an environment variable of this name holds a secret (``hub_token``, ``MY_API_KEY``)."""
    return bool(_SECRET_NAME.fullmatch(name))


def without_secrets(text: str, known: Iterable[str] = ()) -> str:
    """The text with `HIDDEN` in place of keys and passwords.

    These are hidden: the ``known`` ones; the values of environment variables with names such as ``MY_API_KEY``; user,
    password and all values of the query of every address; and text that looks like a key: ``Bearer …``, ``api_key=…``,
    ``sk-…``.
    """
    environment = [value for name, value in os.environ.items() if is_secret(name)]
    for secret in sorted({*known, *environment}, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, HIDDEN)
    text = _ADDRESS.sub(lambda found: _without_password(found[0]), text)
    for pattern, hidden in _WRITTEN:
        text = pattern.sub(hidden, text)
    return text


def quotable(text: object, known: Iterable[str] = ()) -> str:
    """A message from outside (of a server or an exception) that can be written and shown: without secrets and control
    characters, on one line, at most 200 characters."""
    return one_line(without_secrets(clean_text(str(text)[:_MOST_READ]), known))


def _without_password(address: str) -> str:
    scheme, _, rest = address.partition("://")
    end = re.search(r"[/?#]", rest)
    host, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    user, at, host_alone = host.rpartition("@")
    path, mark, query = tail.partition("?")
    return f"{scheme}://{HIDDEN + at if user else ''}{host_alone}{path}{mark}{_QUERY_VALUE.sub(HIDDEN, query)}"
