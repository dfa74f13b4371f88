"""Reflectors around a Python callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from ..base.daemon import LateError, run_within
from ..base.loading import what_it_raised
from ..core.evolve import ReflectionJob, Reflector, Reply
from ..errors import ReflectorError
from .settings import ReflectorSettings

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

    def __init__(self, fn: Callable[[str], str], timeout: float = ReflectorSettings.reflector_timeout) -> None:
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
        try:
            text = run_within(self.timeout, lambda: self.fn(job.prompt))
        except LateError:
            why = f"the function did not return within {self.timeout:g} s (reflector_timeout)"
            return Reply(None, LATE, reason=why)
        except (Exception, SystemExit) as e:  # a user's code may raise anything, and call sys.exit()
            return Reply(None, error=type(e).__name__, reason=what_it_raised(e))
        if not isinstance(text, str):
            return Reply(None, error="no_text", reason=f"the function returned {type(text).__name__}, not text")
        return Reply(text)


class TimedReflector:
    """A reflector of the user's own with a total deadline. When a call is late, all jobs of its batch fail.

    Args:
        timeout: most seconds for each job; a call with n jobs may take n times as long. It runs in a thread, which is
            left alone when it is late.
    """

    def __init__(self, reflector: Reflector, timeout: float = ReflectorSettings.reflector_timeout) -> None:
        self.reflector, self.timeout = reflector, timeout

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        seconds = self.timeout * len(jobs)
        try:
            return run_within(seconds, lambda: self.reflector(jobs))
        except LateError:
            why = f"the reflector did not return within {seconds:g} s ({self.timeout:g} s for each of {len(jobs)} jobs)"
            return [Reply(None, LATE, reason=why)] * len(jobs)


class BatchReflector(TimedReflector):
    """A reflector around ``generate(prompts) -> texts``, called once for each iteration (a model's batched
    generation), with a total deadline.

    ``generate`` may return `Reply` objects instead of strings, with token counts.
    """

    def __init__(
        self,
        generate: Callable[[list[str]], Sequence[str | Reply]],
        timeout: float = ReflectorSettings.reflector_timeout,
    ) -> None:
        def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
            texts = generate([job.prompt for job in jobs])
            return [t if isinstance(t, Reply) else Reply(t) for t in texts]

        super().__init__(reflect, timeout)


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
