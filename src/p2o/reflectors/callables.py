"""Reflectors around a Python callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from ..base.loading import what_it_raised
from ..core.evolve import ReflectionJob, Reply
from ..errors import ReflectorError


class CallableReflector:
    """A reflector around ``fn(prompt) -> text``, called once for each job; if it raises, only that job fails.

    Raises:
        ReflectorError: ``fn`` cannot be called with one text.
    """

    def __init__(self, fn: Callable[[str], str]) -> None:
        self.fn = fn
        _check_takes_one_text(fn)

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        return [self._one(job) for job in jobs]

    def _one(self, job: ReflectionJob) -> Reply:
        try:
            text = self.fn(job.prompt)
        except Exception as e:  # a user's code may raise anything
            return Reply(None, error=type(e).__name__, reason=what_it_raised(e))
        if not isinstance(text, str):
            return Reply(None, error="no_text", reason=f"the function returned {type(text).__name__}, not text")
        return Reply(text)


class BatchReflector:
    """A reflector around ``generate(prompts) -> texts``, called once for each iteration (a model's batched
    generation).

    ``generate`` may return `Reply` objects instead of strings, with token counts.
    """

    def __init__(self, generate: Callable[[list[str]], Sequence[str | Reply]]) -> None:
        self.generate = generate

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        texts = self.generate([job.prompt for job in jobs])
        return [t if isinstance(t, Reply) else Reply(t) for t in texts]


def _check_takes_one_text(fn: Callable[..., object]) -> None:
    try:
        signature = inspect.signature(fn)
    except ValueError:  # functions written in C have no signature
        return
    try:
        signature.bind("prompt")
    except TypeError as e:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise ReflectorError(
            f"the reflector {name}{signature} cannot be called with one text ({e}): "
            "it takes the prompt and returns the reply"
        ) from e
