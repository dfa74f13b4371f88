"""What a run shows at the terminal: one line that is redrawn, the progress of an evolution, a summary of each epoch.

In a file, a pipe or a CI log nothing is redrawn: there is one plain line for each row of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..base.live import Bar, is_live, show_above
from ..base.terminal import console, percent
from ..base.text import one_line
from .diagnosis import Finding, RunBy
from .evolve import EvolveProgress
from .progress import COLUMNS, Rows, plain_rows, step_line

NAME_WIDTH = 26
"""Of the names in an epoch's summary, in characters."""


@dataclass(frozen=True)
class EpochNews:
    """What is shown after an epoch."""

    number: int
    """From 1."""
    epochs: float
    """Of the whole run."""
    rows: Rows
    """See `p2o.core.progress.epoch_rows`."""
    notes: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    sample: Rows = ()
    """One sample in full, see `p2o.core.shown.ShownSample.rows`."""
    run_by: RunBy = None
    """What makes the run, for the findings' commands."""

    @property
    def title(self) -> str:
        """``epoch 2 of 5``."""
        return f"epoch {self.number} of {self.epochs:g}"


class EvolutionBar:
    """Progress of an evolution against its budget, with the time left and its best template so far.

    Args:
        label: is shown before the bar.
        shown: False shows nothing.
    """

    def __init__(self, label: str, shown: bool = True) -> None:
        self.label, self.shown = label, shown
        self.bar: Bar | None = None

    def update(self, progress: EvolveProgress) -> None:
        """Moves the bar to the evolution's state. It is shown as soon as the budget is known."""
        if self.bar is None:
            self.bar = Bar(progress.budget, self.label, shown=self.shown)
        self.bar.advance(progress.metric_calls - self.bar.done)
        self.bar.note(f"{progress.pool} kept")
        if self.shown:
            best = f"best so far ({percent(progress.best_score)}): {progress.best_template or '(the bare prompt)'}"
            show_above(Text(one_line(best, 400), no_wrap=True, overflow="ellipsis"))

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.close()
        if self.shown:
            show_above(None)


@dataclass
class TerminalView:
    """Shows a run at the terminal, or in a log file.

    Args:
        redrawn: False shows plain lines at a terminal too.
    """

    redrawn: bool = True
    bar: Bar | None = None
    steps: int = 0
    _headed: bool = field(default=False, init=False)
    """Whether the plain lines have the names of their columns above them."""

    def begin(self, step: int, steps: int) -> None:
        """Training begins, at a step, of so many."""
        self.steps = steps
        if self.redrawn and is_live():
            self.bar = Bar(steps, "training", unit="steps", timed=False)  # the line above it has the time left
            self.bar.advance(step)

    def step(self, number: int, cells: Sequence[str]) -> None:
        """Shows a row of the log."""
        if self.bar is None:
            if not self._headed:
                console.print(Text(step_line(list(COLUMNS), self.steps), style="dim"))
            self._headed = True
            console.print(step_line(cells, self.steps))
            return
        table = Table.grid(padding=(0, 1))
        for width in COLUMNS.values():
            table.add_column(justify="right", width=width, no_wrap=True)
        table.add_row(*(Text(name, style="dim") for name in COLUMNS))
        table.add_row(*cells)
        show_above(table)

    def at_step(self, number: int) -> None:
        """Moves the bar to a step."""
        if self.bar is not None:
            self.bar.advance(number - self.bar.done)

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        console.print(text)
        self._headed = False

    def evolution(self, label: str) -> EvolutionBar:
        """The progress of an evolution that begins."""
        return EvolutionBar(label, self.redrawn)

    def epoch(self, news: EpochNews) -> None:
        """Shows the summary of an epoch."""
        if console.is_terminal:
            console.print(Rule(Text(news.title, style="bold"), align="left", style="dim"))
        else:
            console.print(f"-- {news.title}")
        print_rows(news.rows)
        for note in news.notes:
            console.print(Text(f"  {note}", style="dim"))
        for finding in news.findings:
            print_finding(finding, news.run_by)
        if news.sample:
            console.print(Text("  one sample of this epoch in full", style="dim"))
            print_rows(news.sample)
        self._headed = False

    def end(self) -> None:
        """Training has ended: nothing is redrawn any more."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            show_above(None)


def print_rows(rows: Rows) -> None:
    """Prints names and values. At a terminal a long value is wrapped in its column; in a file it is one line."""
    if not console.is_terminal:
        console.print(plain_rows(rows))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", width=NAME_WIDTH, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"  {name}", Text(value))
    console.print(table)


def print_finding(finding: Finding, run_by: RunBy) -> None:
    """Prints what happened, and the next step. A fault is marked."""
    mark, style = ("!", "yellow") if finding.is_fault else (" ", "")
    said = ((mark, finding.happened), ("", f"next: {finding.advice}"))
    if console.is_terminal:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=1)
        table.add_column(overflow="fold")
        for row in said:
            table.add_row(*(Text(text, style=style) for text in row))
        console.print(table)
    else:
        console.print("\n".join(f"{sign or ' '} {text}" for sign, text in said))
    if command := finding.command(run_by):
        console.print(f"  {command}")  # not wrapped, so that it can be copied
