"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ..base.terminal import percent

if TYPE_CHECKING:
    from ..analysis.evaluation import Evaluation, TemplateEffect


def span(interval: tuple[float, float]) -> str:
    """An interval of shares in percent: ``[12.5, 40.0]``."""
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def evaluation_table(title: str, rows: Sequence[tuple[str, Evaluation]]) -> Table:
    """A row for each evaluation, and below the first kinds the mean of each group of samples. With tools, the calls of
    a rollout on average, and the share of them that failed."""
    draws, passes = rows[0][1].draws, [k for k in rows[0][1].pass_at if k > 1]
    table = Table(title=title, title_justify="left")
    with_tools = any(e.tool_calls is not None for _, e in rows)
    tools = ("calls", "failed") if with_tools else ()
    for column in ("", "samples", f"mean@{draws}", "95 %", "greedy", *(f"pass@{k}" for k in passes), *tools):
        table.add_column(column, no_wrap=True)
    for label, e in rows:
        shares = [percent(e.pass_at[k]) for k in passes]
        if with_tools:
            shares += ["–" if e.tool_calls is None else f"{e.tool_calls:.2f}", percent(e.tool_failures)]
        table.add_row(label, str(e.samples), percent(e.mean), span(e.interval), percent(e.greedy), *shares)
        for group, value in e.by_group.items() if not label.startswith(("once", " ")) else ():
            table.add_row(f"  {group}", "", percent(value))
    return table


def difference_line(label: str, d: TemplateEffect | None) -> str:
    """A paired difference in points with its interval; nothing where nothing was compared."""
    if d is None:
        return ""
    low, high = d.interval
    return f"{label}: {100 * d.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] on {d.samples} samples"
