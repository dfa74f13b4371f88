"""The report of a run from Python: `p2o.report`."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ...runs.run_directory import read_run
from ...trl.trackers import send_report
from .page import write_page

HEIGHT = 900
"""Of the report in a notebook, in pixels."""


@dataclass(frozen=True)
class Report:
    """A report that was written. A notebook shows it as the value of a cell."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"))
        frame = f'sandbox="allow-scripts" style="width:100%;height:{HEIGHT}px;border:0"'
        return f'<iframe {frame} srcdoc="{page}"></iframe>'


def report(run: Any, out: str | Path | None = None) -> Report:
    """Writes the HTML page of a run, and shows it in a notebook.

    Args:
        run: a `p2o.P2OTrainer` that has trained, or the folder of a run.
        out: the file to write; by default ``report.html`` in the run's folder.

    Raises:
        StateError: there is no run in the folder.
    """
    folder = Path(run) if isinstance(run, str | Path) else run.run_dir
    found = read_run(folder)
    if not isinstance(run, str | Path) and not found.config:
        found.settings = {key: value for key, value in vars(run.args).items() if not key.startswith("_")}
    path = write_page([found], Path(out) if out else folder / "report.html")
    if not isinstance(run, str | Path):
        send_report(run.callback_handler.callbacks, path)
    return Report(path)
