"""The words of a command line that set keys: ``--key value``."""

from __future__ import annotations

from collections.abc import Container, Sequence


def settings_without(settings: Sequence[str], keys: Container[str]) -> list[str]:
    """The words of the settings whose keys are not among ``keys``."""
    kept: list[str] = []
    dropped = False
    for word in settings:
        if word.startswith("--"):
            dropped = word[2:].partition("=")[0].replace("-", "_") in keys
        if not dropped:
            kept.append(word)
    return kept
