"""Asks again where a reply cannot be used, each time in another way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from ..core.evolve import ReflectionJob, Reply
from ..core.evolve.reading import read_reply

Ask = Callable[[Sequence[ReflectionJob]], list[Reply]]
"""One way of asking: a reply to each job."""

AGAIN = "repeated"
"""The kind of a reply that says nothing new."""


def ask_until_usable(jobs: Sequence[ReflectionJob], ways: Sequence[Ask], known: Collection[str] = ()) -> list[Reply]:
    """The replies to the jobs. Those that cannot be used are asked for again, in the next of the ways.

    Not asked again is what failed on its way (a time-out, a wrong key). Tokens of all tries are counted. If no try can
    be used, the reply is the first one; a text that is not new gives an error instead.

    Args:
        known: texts that are not new, beside the parents' own.
    """
    replies = ways[0](jobs)
    for ask in ways[1:]:
        again = [n for n, job in enumerate(jobs) if _may_ask_again(replies[n]) and unusable(replies[n], job, known)]
        if not again:
            break
        for n, reply in zip(again, ask([jobs[n] for n in again]), strict=True):
            better = reply if not unusable(reply, jobs[n], known) else replies[n]
            read, written = (_sum(name, replies[n], reply) for name in ("prompt_tokens", "completion_tokens"))
            replies[n] = replace(better, prompt_tokens=read, completion_tokens=written)
    return [_without_old_news(reply, job, known) for job, reply in zip(jobs, replies, strict=True)]


def unusable(reply: Reply, job: ReflectionJob, known: Collection[str] = ()) -> str:
    """Why a reply cannot be used, in one word; "" if it can."""
    if reply.error is not None or reply.text is None:
        return reply.error or "no_text"
    template, fate, _ = read_reply(reply.text, len(reply.text))
    old = {_plain(text) for text in (job.template, job.partner, *known)}
    return fate or (AGAIN if _plain(template) in old else "")


def _may_ask_again(reply: Reply) -> bool:
    return reply.error in (None, "prompt_too_long")


def _sum(name: str, *replies: Reply) -> int | None:
    """A token count of replies together; None where a text came without it."""
    counts = [getattr(r, name) for r in replies if r.text is not None or getattr(r, name) is not None]
    return None if None in counts or not counts else sum(counts)


def _without_old_news(reply: Reply, job: ReflectionJob, known: Collection[str]) -> Reply:
    if unusable(reply, job, known) != AGAIN:
        return reply
    return replace(reply, text=None, error=AGAIN, reason="the reply repeats the instruction that it was to improve")


def _plain(text: str) -> str:
    """A text without what makes no difference: letter case, punctuation, white space. A text of nothing else stays."""
    return "".join(c for c in text.casefold() if c.isalnum()) or text.strip()
