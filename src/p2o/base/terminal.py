"""All output to the terminal goes through here. It is cleaned, and rich's markup in it is shown as text."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from .text import clean_text


class CleanConsole(Console):
    """rich's console for text of models, servers and data sets.

    Escape sequences and markup in the text have no effect. A character that the terminal's encoding lacks is shown as
    a question mark.
    """

    def __init__(self, **settings: Any) -> None:
        """``settings``: the arguments of `rich.console.Console`."""
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable, each cleaned."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else self._shown(text), style, control)

    def show_cursor(self, show: bool = True) -> bool:
        """Leaves the cursor as it is: a process that is killed could not show it again."""
        return False

    def _shown(self, text: str) -> str:
        return clean_text(text).encode(self.encoding, "replace").decode(self.encoding)


console = CleanConsole(soft_wrap=True)


def tell(message: str) -> None:
    """Prints one cleaned line on stderr that begins with ``p2o:``. For errors and for answers to a signal."""
    print(f"p2o: {' '.join(clean_text(message).split())}", file=sys.stderr, flush=True)


def guard_terminal() -> None:
    """For the command line: also cleans the tracebacks, warnings and log lines of this process, shows p2o's own
    warnings as notes of one line, and question marks for characters that the terminal lacks."""
    sys.excepthook = print_traceback
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' bars fill a log file
    os.environ.setdefault("TQDM_LEAVE", "")  # at a terminal they vanish when they are full; any text would mean yes
    warnings.formatwarning = _clean_warning
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_CleanFormatter())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean_text(super().format(record))


_format_warning = warnings.formatwarning
_PACKAGE = Path(__file__).resolve().parents[1]


def _clean_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """One line for a warning of p2o's own, without the place in its source; Python's form for all others."""
    if category is UserWarning and Path(filename).resolve().is_relative_to(_PACKAGE):
        return f"note: {' '.join(clean_text(str(message)).split())}\n"
    return clean_text(_format_warning(message, category, filename, lineno, line))


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook` of the command line: an unforeseen error's traceback, cleaned."""
    print(clean_text("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def percent(share: float | None) -> str:
    """``0.5`` as ``50.0 %``; a dash for None (not measured)."""
    return "–" if share is None else f"{100 * share:.1f} %"
