"""The end of a run at the terminal: success on held-out data before and after training, and the report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..base.terminal import console, percent
from .changes import KEY, Change, changes_of, draw_changes
from .report import write_report

log = logging.getLogger(__name__)

STYLES = {"rose": "green", "fell": "red", "stayed": ""}


def print_result(result: Mapping[str, Any], temperature: float) -> None:
    """Prints what training changed on the held-out data, losses like gains.

    Args:
        result: content of the run's ``result.json``.
        temperature: at which the one completion of each sample was drawn.
    """
    if not result["after"]:
        return
    console.print(before_and_after(result, temperature))
    for change in [*changes_of(result), *draw_changes(result)]:
        # A loss is said even if it may be chance.
        if (change.sure or change.direction == "fell") and not change.measure:
            sentence = f"bare success on the {change.data} {change.sentence}"
            style = STYLES[change.direction] if change.sure else ""
            console.print(Text(sentence, style=style), soft_wrap=not console.is_terminal)


def unchanged(result: Mapping[str, Any]) -> str:
    """A sentence where training did not change bare success on the test data, nor on a group of it: the intervals of
    all changes hold 0. "" where it did, where that is not known, and where everything is solved.

    Args:
        result: content of the run's ``result.json``.
    """
    changes = [change for change in [*changes_of(result), *draw_changes(result)] if change.part == "test"]
    whole = next((change for change in changes if not change.group and not change.measure), None)
    if whole is None or whole.after == 1 or any(change.sure is not False for change in changes):
        return ""
    return (
        f"bare success on the test data did not change beyond chance: {percent(whole.before)} before training, "
        f"{percent(whole.after)} after it"
    )


def grpo_reference(folder: Path, recipe: str) -> str:
    """One line with what GRPO reached in a comparison of the same recipe; "" where there is none.

    Args:
        folder: of the comparison (``p2o compare``).
        recipe: its name.
    """
    file = folder / "compare.json"
    if not file.exists():
        return ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # the run itself is complete
        return f"! {file} cannot be read: {error}"
    arms = {arm["name"]: arm["success"] for arm in found["arms"]}
    name = next((name for name in ("grpo_equal", "grpo") if name in arms), None)
    if name is None or found["recipe"] != recipe:
        return ""
    low, high = arms[name]["interval"]
    data = f"{found['group']} samples of the test data" if found["group"] else "test data"
    at = " at equal cost" if name == "grpo_equal" else ""
    interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
    seeds = f"{arms[name]['seeds']} seeds" if arms[name]["seeds"] > 1 else "one seed"
    return f"GRPO{at} reached {percent(arms[name]['mean'])} {interval} on the {data} ({seeds}, {folder})"


def before_and_after(result: Mapping[str, Any], temperature: float) -> Table:
    """Bare success on the held-out parts and their groups before and after training.

    Args:
        result: content of the run's ``result.json``.
        temperature: at which the one completion of each sample was drawn.
    """
    drawn = "greedy" if temperature == 0 else f"at temperature {temperature:g}"
    changes = [*changes_of(result), *draw_changes(result)]
    draws = "; rows with @: several draws" if any(change.measure for change in changes) else ""
    title = f"bare success on held-out data ({drawn}{draws})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    for column in ("before", "after", "points [95 %]", "gained", "lost"):
        table.add_column(column, justify="right", no_wrap=True)
    for change in changes:
        table.add_row(*_cells(change), style=STYLES[change.direction] if change.sure else "")
    known = {change.key for change in changes}
    for key, value in result["after"].items():
        before = percent(result["before"].get(key))
        if key.endswith("_no_room"):
            part = key.removesuffix("_no_room").replace("_", " ")
            table.add_row(f"{part}: no room, not counted", before, percent(value))
        elif KEY in key and key not in known:
            table.add_row(key.replace(KEY, "").replace("_", " "), before, percent(value))
    return table


def _cells(change: Change) -> list[str]:
    counts = ["" if n is None else str(n) for n in (change.gained, change.lost)]
    return [change.label, percent(change.before), percent(change.after), change.points.replace(" points", ""), *counts]


def print_report(run_dir: Path, then: Callable[[Path], None] = lambda _: None) -> None:
    """Writes a run's report, and says where it is. When that fails, the run is still complete: the reason is printed.

    Args:
        then: what is done with the page.
    """
    try:
        path = write_report([run_dir])
        console.print(f"the report is in {path}")
        then(path)
    except Exception as error:
        log.debug("report", exc_info=True)
        reason = f"{type(error).__name__}: {error}"
        console.print(f"! the report could not be written ({reason}); `p2o report {run_dir}` tries again")
