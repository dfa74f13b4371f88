"""The end of ``p2o train``: before and after, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..analysis.changes import KEY, Change, changes_of, draw_changes
from ..base.terminal import console, percent
from ..base.words import settings_without
from ..core.diagnosis import RUN_KEYS, Finding
from ..runs.recipe import Recipe
from ..runs.run_directory import Run

STYLES = {"rose": "green", "fell": "red", "stayed": ""}
DRAWS = 8
"""Rollouts of a sample in the evaluation that is proposed."""
COMMANDS = 3
"""Commands that are proposed."""


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
        if (
            change.sure or change.direction == "fell"
        ) and not change.measure:  # a loss is said even if it may be chance
            style = STYLES[change.direction] if change.sure else ""
            console.print(
                Text(f"bare success on the {change.data} {change.sentence}", style=style),
                soft_wrap=not console.is_terminal,
            )


def before_and_after(result: Mapping[str, Any], temperature: float) -> Table:
    """Bare success on the held-out parts and their groups before and after training.

    Args:
        result: content of the run's ``result.json``.
        temperature: at which the one completion of each sample was drawn.
    """
    drawn = "greedy" if temperature == 0 else f"at temperature {temperature:g}"
    changes = [*changes_of(result), *draw_changes(result)]
    draws = "; rows with @: several draws of each sample" if any(change.measure for change in changes) else ""
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


def print_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Prints (what it does, command) pairs."""
    console.print("next:")
    for what, command in commands:
        console.print(Text(f"  {what}:\n", style="dim").append(f"    {command}", style="default"))


def next_commands(
    run: Run, model: Path, words: Sequence[str], recipe: Recipe, findings: Sequence[Finding]
) -> list[tuple[str, str]]:
    """(what it does, the command) of three things to do after a run. What went wrong comes first.

    Args:
        run: the run.
        model: its last checkpoint.
        words: what stood behind ``p2o train``.
        recipe: what they say.
        findings: of the last epoch.
    """
    own = [words[0], *settings_without(words[1:], RUN_KEYS)]
    commands = [(f.advice, f.command(own)) for f in findings if f.command(own)]
    if recipe.task.test:
        pool = ["--pool", str(run.path)] if run.last_pool and any(t.text for t in run.last_pool.pool) else []
        what = "what the templates still add, and pass@k" if pool else "mean@k and pass@k"
        commands.append((what, shlex.join(["p2o", "eval", str(model), *own, "--draws", str(DRAWS), *pool])))
    compare = ["p2o", "compare", *own, "--arms", "grpo_equal,p2o"]
    commands.append(("against plain GRPO at the same cost", shlex.join(compare)))
    longer = f"{2 * recipe.training.num_train_epochs:g}"
    if recipe.training.max_steps <= 0:
        further = ["p2o", "train", *own, "--output_dir", str(run.path), "--resume", "--num_train_epochs", longer]
        commands.append(("train on, twice as long in all", shlex.join(further)))
    return commands[:COMMANDS]
