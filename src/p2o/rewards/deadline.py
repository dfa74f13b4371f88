"""A function of the user's own (a reward, a tool) that does not return is named, and stopped.

It runs in the training process and cannot be killed alone. So after a minute its stack is shown, and at a limit the
call is interrupted: where it sleeps, waits (for an answer from the network, a lock, a subprocess) or runs Python code,
by a signal. Code that lets no signal through has two seconds more; then the process ends with the stack on stderr,
which is better than machines that wait for nothing. A coroutine function is cancelled at the limit.
"""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import inspect
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..base.text import clean_text
from ..errors import P2OError, RewardError

logger = logging.getLogger(__name__)

WARN_SECONDS = 60.0
GRACE_SECONDS = 2.0
STOP_SIGNAL = signal.SIGURG  # ignored by default, and used by nobody's reward function, unlike SIGALRM
FRAMES = 8


@dataclass(frozen=True)
class Watched:
    """A kind of function that is watched."""

    word: str
    """Names it in a log."""
    noun: str
    """Names it in an error."""
    key: str
    """The setting that holds its limit."""
    error: type[P2OError]


REWARD = Watched("reward", "reward function", "reward_timeout", RewardError)


class _InterruptedCall(BaseException):
    """Not an Exception: a function that catches those for each of its completions would continue with the next."""


@contextmanager
def watched(name: str, limit: float, kind: Watched = REWARD) -> Iterator[None]:
    """Stops what is inside after ``limit`` seconds (0: never), and warns after a minute.

    Args:
        name: of the function, for messages.

    Raises:
        P2OError: it took longer (the kind's own error). In a thread other than the main one only the process can be
            ended.
    """
    caller = threading.get_ident()
    main = threading.current_thread() is threading.main_thread()
    state = "running"

    def warn() -> None:
        until = f"; it is stopped after {limit:g} s ({kind.key})" if limit else ""
        logger.warning(
            "%s %r has been running for %g s%s, now in\n%s", kind.word, name, WARN_SECONDS, until, _stack(caller)
        )

    def stop() -> None:
        nonlocal state
        if state == "running":
            state = "late"
            logger.warning("%s %r is stopped after %g s, in\n%s", kind.word, name, limit, _stack(caller))
            if main:  # Python delivers signals to the main thread alone
                signal.pthread_kill(caller, STOP_SIGNAL)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if state == "late":
            raise _InterruptedCall

    timers = [threading.Timer(WARN_SECONDS, warn), *([threading.Timer(limit, stop)] if limit else [])]
    before = signal.signal(STOP_SIGNAL, interrupt) if main else None
    if limit:
        faulthandler.dump_traceback_later(limit + GRACE_SECONDS, exit=True, file=2)
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    except _InterruptedCall:
        raise _late(name, limit, kind) from None
    finally:
        state = "done"
        for timer in timers:
            timer.cancel()
        if limit:
            faulthandler.cancel_dump_traceback_later()
        if main:
            signal.signal(STOP_SIGNAL, before)


def _late(name: str, limit: float, kind: Watched) -> P2OError:
    return kind.error(
        f"{kind.noun} {name!r} did not return within {limit:g} s; give what it waits for a time-out of its own, "
        f"or raise {kind.key}"
    )


def _stack(thread: int) -> str:
    """Where a thread is, innermost frame last."""
    frame = sys._current_frames().get(thread)
    return clean_text("".join(traceback.format_stack(frame)[-FRAMES:]).rstrip())


def watch(function: Any, limit: float, kind: Watched = REWARD) -> Any:
    """A function as TRL takes it, watched.

    Args:
        function: models, names of models and functions with a deadline of their own (``has_deadline``) are returned
            as they are; a coroutine function stays one.
        limit: seconds for a call; 0: none.
    """
    if hasattr(function, "forward") or isinstance(function, str) or not callable(function):
        return function
    if getattr(function, "has_deadline", False):
        return function
    name = getattr(function, "__name__", type(function).__name__)
    call: Callable[..., Any] = function

    def watching(*args: Any, **kwargs: Any) -> Any:
        with watched(name, limit, kind):
            return call(*args, **kwargs)

    async def watching_async(*args: Any, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(limit or None) as scope:
                return await call(*args, **kwargs)
        except TimeoutError:
            if scope.expired():
                raise _late(name, limit, kind) from None
            raise

    asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    wrapper = watching_async if asynchronous else watching
    functools.update_wrapper(wrapper, function)
    wrapper.__name__ = name
    return wrapper
