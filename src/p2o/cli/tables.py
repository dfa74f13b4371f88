"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ..base.terminal import percent

if TYPE_CHECKING:
    from ..analysis.evaluation import Evaluation, TemplateEffect


def span(interval: tuple[float, float]) -> str:
    """An interval of shares in percent: ``[12.5, 40.0]``."""
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def evaluation_table(title: str, rows: Sequence[tuple[str, Evaluation]]) -> Table:
    """A row for each evaluation, and below the first kinds the mean of each group of samples."""
    draws, passes = rows[0][1].draws, [k for k in rows[0][1].pass_at if k > 1]
    table = Table(title=title, title_justify="left")
    for column in ("", "samples", f"mean@{draws}", "95 %", "greedy", *(f"pass@{k}" for k in passes)):
        table.add_column(column, no_wrap=True)
    for label, e in rows:
        shares = [percent(e.pass_at[k]) for k in passes]
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


def before_and_after(result: Mapping[str, Any], temperature: float) -> Table:
    """Bare success on the held-out parts and their groups before and after training.

    Args:
        result: content of the run's ``result.json``.
        temperature: at which the one completion of each sample was drawn.
    """
    from ..analysis.changes import KEY, changes_of

    drawn = "greedy" if temperature == 0 else f"at temperature {temperature:g}"
    table = Table(title=f"bare held-out success (one completion a sample, {drawn})", title_justify="left")
    for column in ("", "before", "after", "change [95 %]"):
        table.add_column(column)
    changes = {change.key: change for change in changes_of(result)}
    for key, value in result["after"].items():
        if KEY in key:
            change = changes.get(key)
            label = change.label if change else key.replace(KEY, "").replace("_", " ")
            before, points = (percent(change.before), change.points) if change else ("–", "–")
            table.add_row(label, before, percent(value), points)
        elif key.endswith("_no_room"):
            part = key.removesuffix("_no_room").replace("_", " ")
            table.add_row(f"{part}: no room, not counted", percent(result["before"].get(key)), percent(value), "")
    return table
