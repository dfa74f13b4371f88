"""Who writes new templates: the protocol (`p2o.reflectors` holds those that exist)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .prompt import Record


@dataclass(frozen=True)
class ReflectionJob:
    """One proposal to be written."""

    template: str
    """The parent's text."""
    records: Sequence[Record]
    """(question, completion, feedback, reward) of the parent on its minibatch."""
    seed: int
    """For a reflector that needs chance."""
    prompt: str
    """The whole reflection prompt, for a reflector that is a language model."""


@dataclass(frozen=True)
class Reply:
    """What came back: a text (the template stands in its last ``` fence), or an error."""

    text: str | None
    error: str | None = None
    """The kind of the error, in a word by which failures are counted: "timeout", "auth", "ValueError" …"""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reason: str = ""
    """What the other side said about the error."""


class Reflector(Protocol):
    """Writes all proposals of an iteration in one call: as many replies as jobs, in their order.

    A job that fails gets a `Reply` with an error; it must not raise.
    """

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]: ...
