"""Asks the reflector, and remembers what it said."""

from __future__ import annotations

from collections.abc import Sequence

from ...base.journal import Journal, digest
from .reflector import ReflectionJob, Reflector, Reply
from .result import EvolveCost

Key = tuple[int, int, str]
"""(iteration, slot, hash of the prompt)."""


class Asker:
    """The reflector behind a journal and an account: a resumed evolution hears the same replies again."""

    def __init__(self, reflector: Reflector, journal: Journal, cost: EvolveCost) -> None:
        self.reflector = reflector
        self.journal = journal
        self.cost = cost
        self.stored: dict[Key, Reply] = {
            (e["iteration"], e["slot"], e["prompt"]): Reply(
                e["text"], e["error"], e["prompt_tokens"], e["completion_tokens"]
            )
            for e in journal.events
        }

    def ask(self, iteration: int, jobs: dict[int, ReflectionJob]) -> dict[int, Reply]:
        """Slot → reply, for slot → job. One call of the reflector, with the jobs that have no reply yet."""
        keys = {slot: (iteration, slot, digest(job.prompt)) for slot, job in jobs.items()}
        missing = [slot for slot in jobs if keys[slot] not in self.stored]
        replies = self._call([jobs[slot] for slot in missing])
        self.stored.update(zip((keys[slot] for slot in missing), replies, strict=True))
        self.journal.append(
            *(
                {
                    "iteration": iteration, "slot": slot, "prompt": keys[slot][2], "text": r.text,
                    "error": r.error, "prompt_tokens": r.prompt_tokens,
                    "completion_tokens": r.completion_tokens,
                }
                for slot, r in zip(missing, replies, strict=True)
            )
        )  # fmt: skip
        out = {slot: self.stored[keys[slot]] for slot in jobs}
        for reply in out.values():
            self._count(reply)
        return out

    def _call(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        if not jobs:
            return []
        try:
            replies = self.reflector(jobs)
        except Exception as e:  # someone else's code; a failing reflector must not end a run
            return [Reply(None, error=type(e).__name__)] * len(jobs)
        if len(replies) != len(jobs):
            return [Reply(None, error="wrong_number_of_replies")] * len(jobs)
        return replies

    def _count(self, reply: Reply) -> None:
        self.cost.reflector_calls += 1
        self.cost.reflector_prompt_tokens += reply.prompt_tokens
        self.cost.reflector_completion_tokens += reply.completion_tokens
        if reply.error is not None:
            failures = self.cost.reflector_failures
            failures[reply.error] = failures.get(reply.error, 0) + 1
