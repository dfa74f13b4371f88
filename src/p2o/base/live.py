"""The part of the terminal that is redrawn in place: the bars of long phases, and what else is shown above them.

There is one such part, at the bottom of the screen. Everything that is printed meanwhile appears above it. Off a
terminal (a file, a pipe, a CI log, a notebook) nothing of it is shown.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from .terminal import console
from .text import clean_text, one_line

REFRESHES = 4
"""Redrawings in a second."""


def is_live() -> bool:
    """Whether output can be redrawn in place."""
    return console.is_interactive and not console.is_jupyter


class _TimeLeft(TimeRemainingColumn):
    """The time left of the bars that show it."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.fields["timed"] else Text()


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """The handlers of all loggers that write to a stream."""
    loggers = [logging.getLogger(), *logging.getLogger().manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler


class _Board(Progress):
    """Bars, and what is shown above them. It is on the screen as long as there is one of them."""

    def __init__(self) -> None:
        self.above: RenderableType | None = None
        super().__init__(
            TextColumn("{task.description}", table_column=Column(no_wrap=True), markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[unit]}", table_column=Column(no_wrap=True), markup=False),
            _TimeLeft(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True), markup=False),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=REFRESHES,
            redirect_stderr=sys.stderr.isatty(),  # in a file it stays there
        )
        self.moved: list[tuple[logging.StreamHandler[Any], Any]] = []
        """Handlers of the log whose stream is exchanged, and their own streams."""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.above is not None:
            yield self.above
        if self.tasks:
            yield self.make_tasks_table(self.tasks)

    def start(self) -> None:
        """Begins to redraw. What is printed meanwhile appears above: rich sees to ``sys.stdout`` and ``sys.stderr``;
        the handlers of the log that hold these two from before are moved here."""
        before = sys.stdout, sys.stderr
        super().start()
        for handler in _handlers():
            for old, new in zip(before, (sys.stdout, sys.stderr), strict=True):
                if handler.stream is old is not new:
                    self.moved.append((handler, handler.setStream(new)))

    def stop(self) -> None:
        """Ends redrawing."""
        for handler, stream in self.moved:
            handler.setStream(stream)
        self.moved.clear()
        super().stop()

    def start_or_stop(self) -> None:
        """Starts or stops the redrawing, as there is something to show or not."""
        needed = bool(self.tasks) or self.above is not None
        if needed and not self.live.is_started:
            self.start()
        elif not needed and self.live.is_started:
            self.stop()
        else:
            self.refresh()  # a line that is printed next must not bring back what was shown before


_board = _Board()


def show_above(what: RenderableType | None) -> None:
    """Shows something above the bars, in place of what was shown there; None shows nothing."""
    if is_live():
        _board.above = what
        _board.start_or_stop()


class Bar:
    """A bar, a context manager. Off a terminal it only counts.

    Args:
        total: units until it is full.
        label: what is going on.
        unit: what is counted, in the plural.
        shown: False hides it.
        timed: whether it shows the time left.
    """

    def __init__(self, total: int, label: str, unit: str = "rollouts", shown: bool = True, timed: bool = True) -> None:
        self.done = 0
        self._task: TaskID | None = None
        if shown and is_live():
            self._task = _board.add_task(clean_text(label), total=total, unit=unit, note="", timed=timed)
            _board.start_or_stop()

    def advance(self, units: int = 1) -> None:
        """Counts units that are done."""
        self.done += units
        if self._task is not None:
            _board.advance(self._task, units)

    def note(self, text: str) -> None:
        """Shows a short text beside the bar."""
        if self._task is not None:
            _board.update(self._task, note=one_line(text, 40))

    def close(self) -> None:
        """Removes the bar."""
        if self._task is not None:
            _board.remove_task(self._task)
            self._task = None
            _board.start_or_stop()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
