"""Asks the reflector, and remembers its replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...base.journal import Journal, digest
from ...base.loading import what_it_raised
from ...base.secrets import quotable
from ...errors import StateError
from .reflector import ReflectionJob, Reflector, Reply, checked, reported_tokens, sound
from .result import EvolveCost

Key = tuple[int, int, str]
"""(iteration, slot, hash of the prompt)."""


class Asker:
    """The reflector with a journal and a count of its cost. A resumed evolution gets the same replies again.

    Each reply is checked before it is written to the journal. A bad reply in the journal would stop this run, and every
    later run in the folder.
    """

    def __init__(self, reflector: Reflector, journal: Journal, cost: EvolveCost) -> None:
        self.reflector = reflector
        self.journal = journal
        self.cost = cost
        self.stored: dict[Key, Reply] = dict(_stored(journal, n) for n in range(len(journal.events)))

    def ask(self, iteration: int, jobs: dict[int, ReflectionJob]) -> dict[int, Reply]:
        """Slot → reply, for slot → job. One call of the reflector, with the jobs that have no reply yet."""
        keys = {slot: (iteration, slot, digest(job.prompt)) for slot, job in jobs.items()}
        missing = [slot for slot in jobs if keys[slot] not in self.stored]
        replies = self._call([jobs[slot] for slot in missing])
        self.journal.append(*(_event(keys[slot], reply) for slot, reply in zip(missing, replies, strict=True)))
        self.stored.update(zip((keys[slot] for slot in missing), replies, strict=True))
        out = {slot: self.stored[keys[slot]] for slot in jobs}
        for reply in out.values():
            self._count(reply)
        return out

    def _call(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        if not jobs:
            return []
        try:
            return checked(self.reflector(jobs), len(jobs))
        except (Exception, SystemExit) as e:  # a user's code may raise anything; a failing reflector must not end a run
            return [Reply(None, type(e).__name__, reason=quotable(what_it_raised(e)))] * len(jobs)

    def _count(self, reply: Reply) -> None:
        self.cost.reflector_calls += 1
        read, written, unmeasured = reported_tokens([reply])
        self.cost.reflector_prompt_tokens += read
        self.cost.reflector_completion_tokens += written
        self.cost.unmeasured_replies += unmeasured
        if reply.error is not None:
            failures = self.cost.reflector_failures
            failures[reply.error] = failures.get(reply.error, 0) + 1
            self.cost.reflector_reasons.setdefault(reply.error, reply.reason)


def _event(key: Key, reply: Reply) -> dict[str, Any]:
    iteration, slot, prompt = key
    return {
        "iteration": iteration, "slot": slot, "prompt": prompt, "text": reply.text, "error": reply.error,
        "reason": reply.reason, "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens,
    }  # fmt: skip


def _stored(journal: Journal, line: int) -> tuple[Key, Reply]:
    event: Mapping[str, Any] = journal.events[line]
    try:
        reply = Reply(
            event["text"], event["error"], event["prompt_tokens"], event["completion_tokens"], event.get("reason", "")
        )
        return (event["iteration"], event["slot"], event["prompt"]), sound(reply)
    except KeyError as e:
        raise StateError(f"{journal.path}, line {line + 1} is not a reply; use a new folder") from e
