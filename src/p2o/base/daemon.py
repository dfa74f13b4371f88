"""Waits for something outside of the process, so that a second signal can always end the wait.

Before Python exits it waits for every thread that is not a daemon, and for all threads of `concurrent.futures`. A
thread that hangs in a system call would keep the process alive. So the waiting is done in daemon threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")


def start_daemon(work: Callable[[], T]) -> Future[T]:
    """Starts ``work`` in a new daemon thread. The future gives its result, or raises its error."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as e:  # the future raises it again for its reader
            future.set_exception(e)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return future


class LateError(Exception):
    """Work did not end in time."""


def run_within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, or its error. It runs in a daemon thread, which is left alone when it is late.

    Raises:
        LateError: it did not end within ``seconds``.
    """
    future = start_daemon(work)
    if not wait([future], seconds).done:
        raise LateError
    return future.result()


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, whether or not an event loop runs here (a notebook, Ray). A signal's exception comes
    through at once, and cancels the coroutine."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_DaemonExecutor())
    task = loop.create_task(coroutine)

    def work() -> T:
        try:
            return loop.run_until_complete(task)
        finally:
            loop.close()

    future = start_daemon(work)
    try:
        return future.result()
    except BaseException:
        if not future.done():
            loop.call_soon_threadsafe(task.cancel)
        raise


class _DaemonExecutor(ThreadPoolExecutor):
    """An executor for an event loop, which looks up host names in it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return start_daemon(lambda: fn(*args, **kwargs))
