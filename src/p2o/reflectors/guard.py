"""Checks the text to and from every reflector for control tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..base.text import valid_text
from ..core.evolve import ReflectionJob, Reflector, Reply
from ..core.evolve.reading import read_reply
from ..core.evolve.reflector import checked
from .control_tokens import ControlGuard


def guard_control_tokens(reflector: Reflector, control: ControlGuard) -> Reflector:
    """The reflector; its proposals with chat control text of the policy's tokenizer are refused. Such text is also
    broken up in the prompt: a completion may hold it, and the reflector is often the same model."""

    def guarded(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        replies = reflector([_without_control(job, control) for job in jobs])
        return [_refuse_control(reply, control) for reply in checked(replies, len(jobs))]

    return guarded


def _without_control(job: ReflectionJob, control: ControlGuard) -> ReflectionJob:
    """The job with the control text broken up in all that a reflector may show to a model."""

    def safe(text: str) -> str:
        return control.neutralise(valid_text(text))

    records = [(safe(question), safe(answer), safe(judgement), r) for question, answer, judgement, r in job.records]
    return replace(job, prompt=safe(job.prompt), records=records)


def _refuse_control(reply: Reply, control: ControlGuard) -> Reply:
    """The reply, or why its template cannot be used."""
    if reply.text is None:
        return reply
    if reply.text != valid_text(reply.text):
        return _refused(reply, "not_unicode", "the reply holds lone surrogates")
    template, _, _ = read_reply(reply.text, len(reply.text))
    if found := control.found(template):
        return _refused(reply, "control_token", f"the template holds {', '.join(found)}")
    return reply


def _refused(reply: Reply, kind: str, reason: str) -> Reply:
    return Reply(None, kind, reply.prompt_tokens, reply.completion_tokens, reason)
