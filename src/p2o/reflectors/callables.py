"""Reflectors around a Python callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from ..base.daemon import start_daemon
from ..base.loading import what_it_raised
from ..core.evolve import ReflectionJob, Reply
from ..errors import ReflectorError

LATE = "timeout"


class CallableReflector:
    """A reflector around ``fn(prompt) -> text``, called once for each job, one after the other; if it raises, only
    that job fails. After a call that does not return in time the other jobs of this batch fail too: the function still
    runs, and may not bear a second call beside the first.

    Args:
        timeout: most seconds for one call; it runs in a thread, which is left alone when it is late.

    Raises:
        ReflectorError: ``fn`` cannot be called with one text.
    """

    def __init__(self, fn: Callable[[str], str], timeout: float = 120.0) -> None:
        self.fn, self.timeout = fn, timeout
        _check_takes_one_text(fn)

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        replies: list[Reply] = []
        for job in jobs:
            if replies and replies[-1].error == LATE:
                replies.append(Reply(None, LATE, reason="not called: the call before it did not return in time"))
            else:
                replies.append(self._one(job))
        return replies

    def _one(self, job: ReflectionJob) -> Reply:
        call = start_daemon(lambda: self.fn(job.prompt))
        try:
            text = call.result(self.timeout)
        except Exception as e:  # a user's code may raise anything
            if not call.done():
                why = f"the function did not return within {self.timeout:g} s (reflector_timeout)"
                return Reply(None, LATE, reason=why)
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
