"""The protocol of a reflector, which writes new templates (`p2o.reflectors` holds the built-in ones)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...base.secrets import quotable
from ..cost import token_sums
from .prompt import Record

MOST_TOKENS = 10**12
"""A larger token count is an error, as if none had been reported."""

MAX_REPLY_CHARS = 1_000_000
"""A longer reply is refused."""


@dataclass(frozen=True)
class ReflectionJob:
    """One proposal to be written."""

    template: str
    """The parent's text."""
    records: Sequence[Record]
    """(question, completion, feedback, reward) of the parent on its minibatch."""
    seed: int
    """For a reflector that makes random choices."""
    prompt: str
    """The whole reflection prompt, for a reflector that is a language model."""
    partner: str = ""
    """A second parent's text, which solves other samples; "" if there is none. The prompt shows it too."""


@dataclass(frozen=True)
class Reply:
    """The answer to a job: a text (the template is in its last ``` fence), or an error."""

    text: str | None
    error: str | None = None
    """The kind of the error in one word, by which failures are counted: "timeout", "auth", "ValueError" …"""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """None: not reported."""
    reason: str = ""
    """The reason of the error, as the other side gave it; or a remark on the text ("cut off")."""


def checked(replies: Any, jobs: int) -> list[Reply]:
    """As many replies as jobs, each with fields of the right types. What is wrong becomes a reply with an error."""
    if isinstance(replies, list | tuple) and len(replies) == jobs:
        return [sound(reply) for reply in replies]
    gave = f"{len(replies)} replies" if isinstance(replies, list | tuple) else f"a {type(replies).__name__}"
    return [Reply(None, "no_replies", reason=f"the reflector gave {gave} where {jobs} replies are due")] * jobs


def sound(reply: Any) -> Reply:
    """The reply with fields of the right types, or a reply with an error."""
    if not isinstance(reply, Reply):
        return Reply(None, "no_reply", reason=f"the reflector gave a {type(reply).__name__} where a Reply is due")
    text: Any = reply.text
    error, why = reply.error, reply.reason
    if error is None and not isinstance(text, str):
        error, why = "no_text", f"the text of the reply is a {type(text).__name__}"
    elif error is None and len(text) > MAX_REPLY_CHARS:
        error, why = "too_large", f"the reply has {len(text):,} characters, at most {MAX_REPLY_CHARS:,} are read"
    return Reply(
        text=text if error is None else None,
        error=None if error is None else quotable(error),
        prompt_tokens=token_count(reply.prompt_tokens),
        completion_tokens=token_count(reply.completion_tokens),
        reason=quotable(why),
    )


def token_count(value: object) -> int | None:
    """A token count from outside as a number; None for anything that is not a count."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return int(value) if number else None  # type: ignore[call-overload, no-any-return]


def reported_tokens(replies: Sequence[Reply]) -> tuple[int, int, int]:
    """Tokens read and written for all replies together, and how many texts came without these counts."""
    read, written, _ = token_sums(replies)
    return read, written, token_sums([reply for reply in replies if reply.text is not None])[2]


class Reflector(Protocol):
    """Writes all proposals of an iteration in one call: as many replies as jobs, in their order.

    A job that fails gets a `Reply` with an error; it must not raise.
    """

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        ...
