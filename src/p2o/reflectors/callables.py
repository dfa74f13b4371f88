"""Reflectors around a Python callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.evolve import ReflectionJob, Reply


class CallableReflector:
    """Around ``fn(prompt) -> text``, called once per job; what it raises fails that job alone."""

    def __init__(self, fn: Callable[[str], str]) -> None:
        self.fn = fn

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [self._one(job) for job in jobs]

    def _one(self, job: ReflectionJob) -> Reply:
        try:
            text = self.fn(job.prompt)
        except Exception as e:  # a user's code: whatever it raises
            return Reply(None, error=type(e).__name__)
        return Reply(text) if isinstance(text, str) else Reply(None, error="no_text")


class BatchReflector:
    """Around ``generate(prompts) -> texts``, called once per iteration (a model's batched generation).

    ``generate`` may return `Reply` objects instead of strings, to give its token counts.
    """

    def __init__(self, generate: Callable[[list[str]], Sequence[str | Reply]]) -> None:
        self.generate = generate

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        texts = self.generate([job.prompt for job in jobs])
        return [t if isinstance(t, Reply) else Reply(t) for t in texts]
