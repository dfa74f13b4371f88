"""The guard that every reflector's text passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..base.text import valid_text
from ..core.evolve import ReflectionJob, Reflector, Reply
from ..core.evolve.prompt import read_reply
from .control_tokens import ControlGuard


def guard_control_tokens(reflector: Reflector, control: ControlGuard) -> Reflector:
    """Refuses proposals that hold chat control text of the policy's tokenizer, and breaks such text up in what the
    reflector is asked: a completion may hold it, and the reflector is often the same model."""

    def guarded(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        replies = reflector([replace(job, prompt=control.neutralise(valid_text(job.prompt))) for job in jobs])
        return [_refused(r, kind) if (kind := _fault(r.text, control)) else r for r in replies]

    return guarded


def _fault(text: str | None, control: ControlGuard) -> str | None:
    """What is wrong with the template in a reply, as the kind of an error."""
    if text is None:
        return None
    if text != valid_text(text):
        return "not_unicode"
    template, _, _ = read_reply(text, len(text))
    return "control_token" if control.found(template) else None


def _refused(reply: Reply, kind: str) -> Reply:
    return Reply(None, kind, reply.prompt_tokens, reply.completion_tokens)
