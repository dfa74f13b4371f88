"""What a run shows in a notebook: one table that is updated in place, a row for each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..base.terminal import percent
from ..base.text import clean_text, one_line
from ..core.diagnosis import Finding, RunBy
from ..core.evolve import EvolveProgress
from ..core.progress import COLUMNS

if TYPE_CHECKING:
    from ..core.display import EpochNews


class NotebookView:
    """Shows a run in a notebook. The methods are those of `p2o.core.display.TerminalView`."""

    def __init__(self) -> None:
        self.steps = 0
        self.number = 0
        self.cells: Sequence[str] = ()
        self.epochs: list[tuple[str, Sequence[str]]] = []
        """(title, the cells of its last step) of each epoch that has ended."""
        self.lines: list[str] = []
        self.below: str = ""
        self.status = ""
        self._handle: Any = None

    def begin(self, step: int, steps: int) -> None:
        """Training begins, at a step, of so many."""
        from IPython.display import HTML, display

        self.number, self.steps = step, steps
        self._handle = display(HTML(self.html()), display_id=True)

    def step(self, number: int, cells: Sequence[str]) -> None:
        """Shows a row of the log."""
        self.number, self.cells, self.status = number, cells, ""
        self._draw()

    def at_step(self, number: int) -> None:
        """Moves the bar to a step, when it is drawn the next time."""
        self.number = number

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        self.lines.append(text)
        self._draw()

    def evolution(self, label: str) -> Any:
        """The progress of an evolution that begins."""
        return _Evolution(self, label)

    def epoch(self, news: EpochNews) -> None:
        """Shows an epoch: its row stays, its summary is replaced by the next one's."""
        self.epochs.append((news.title, self.cells))
        self.cells, self.status = (), ""
        told = [row for finding in news.findings for row in _told(finding, news.run_by)]
        rows = [*news.rows, *(("note", note) for note in news.notes), *told]
        self.below = _rows(news.title, rows)
        if news.sample:
            self.below += _rows("one sample of this epoch in full", news.sample)
        self._draw()

    def end(self) -> None:
        """Training has ended."""
        self.status = ""
        self._draw()

    def tell(self, status: str) -> None:
        """Shows what is going on between two steps."""
        self.status = status
        self._draw()

    def html(self) -> str:
        """The table and what is below it."""
        head = "".join(f"<th>{escape(name)}</th>" for name in ("epoch", *COLUMNS))
        body = [_cells(title, cells) for title, cells in self.epochs]
        body += [_cells("now", self.cells)] if self.cells else []
        lines = "".join(f"<div>{_text(line)}</div>" for line in self.lines)
        bar = f'<progress value="{self.number}" max="{max(1, self.steps)}" style="width:20em"></progress> '
        status = f"{bar}{self.number}/{self.steps} {_text(self.status)}"
        return f"{lines}<div>{status}</div><table><tr>{head}</tr>{''.join(body)}</table>{self.below}"

    def _draw(self) -> None:
        if self._handle is not None:
            from IPython.display import HTML

            self._handle.update(HTML(self.html()))


class _Evolution:
    """The progress of an evolution, in the line above the table."""

    def __init__(self, view: NotebookView, label: str) -> None:
        self.view, self.label = view, label

    def update(self, p: EvolveProgress) -> None:
        spent = f"{p.metric_calls} of {p.budget} rollouts, {p.pool} kept"
        best = f"best {percent(p.best_score)}: {one_line(p.best_template or '(the bare prompt)')}"
        self.view.tell(f"{self.label}: {spent}, {best}")

    def close(self) -> None:
        self.view.tell("")


def _told(finding: Finding, run_by: RunBy) -> list[tuple[str, str]]:
    """(name, text) rows: what happened, marked if it is a fault, the next step, and its command."""
    command = finding.command(run_by)
    rows = [("!" if finding.is_fault else "", finding.happened), ("next", finding.advice)]
    return [*rows, *([("", command)] if command else [])]


def _text(text: str) -> str:
    return escape(clean_text(text))


def _cells(title: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{_text(title)}</th>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _rows(title: str, rows: Sequence[tuple[str, str]]) -> str:
    left = 'style="text-align:left;white-space:pre-wrap"'
    body = "".join(f"<tr><th {left}>{_text(name)}</th><td {left}>{_text(value)}</td></tr>" for name, value in rows)
    return f"<details open><summary>{_text(title)}</summary><table>{body}</table></details>"
