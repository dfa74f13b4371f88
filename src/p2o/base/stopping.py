"""Stops a run after its state is saved, on SIGTERM (pre-emptible machines), Ctrl-C or a loss that is not finite."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import P2OError
from .terminal import tell


class StoppedError(P2OError):
    """Training was stopped before its end; its state is saved.

    Args:
        message: why, and how to continue.
        exit_code: of the command line: 130 after Ctrl-C, 143 after SIGTERM (128 + the signal's number), else 2.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


COPY_SECONDS = 1.0
LAUNCHED_COPY_SECONDS = 5.0
"""A second signal within this number of seconds is a copy of the first: Ctrl-C at a terminal reaches all processes, and
a comparison or torchrun also sends its own signal to its workers."""


class StopRequest:
    """Asks a trainer to stop after the running step. Only the first reason is kept."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.exit_code = 2

    def __bool__(self) -> bool:
        return self.reason is not None

    def make(self, reason: str, exit_code: int = 2) -> None:
        """Asks for a stop; a later reason is ignored."""
        if self.reason is None:
            self.reason, self.exit_code = reason, exit_code

    def error(self, step: int, checkpoint: str | None) -> StoppedError:
        """The error to raise after the state is saved."""
        saved = f"its state is in {checkpoint}" if checkpoint else "nothing was saved (save_strategy is no)"
        return StoppedError(f"training stopped at step {step}: {self.reason}; {saved}", self.exit_code)


@contextmanager
def signals_stop(request: StopRequest) -> Iterator[None]:
    """Inside this context the first SIGTERM or Ctrl-C makes the request. A second one ends the process at once, without
    waiting for its threads."""
    first_at = 0.0
    copies = LAUNCHED_COPY_SECONDS if "LOCAL_RANK" in os.environ else COPY_SECONDS

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if not request:
            request.make(f"{name} was received", 128 + number)
            first_at = time.monotonic()
            again = f"sent again after {copies:.0f} s or more, it ends the process at once"
            tell(f"{name}: the running step is finished and saved first; {again}")
        elif time.monotonic() - first_at >= copies:
            tell(f"{name}: ended at once")
            os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # Python allows only the main thread to set handlers
        yield
        return
    before = {which: signal.signal(which, handle) for which in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
