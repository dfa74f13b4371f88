"""The end of ``p2o train``: what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from ..base.terminal import console
from ..base.words import settings_without
from ..core.diagnosis import RUN_KEYS, Finding
from ..runs.recipe import Recipe
from ..runs.run_directory import Run

DRAWS = 8
"""Rollouts of a sample in the evaluation that is proposed."""
COMMANDS = 3
"""Commands that are proposed."""


def print_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Prints (what it does, command) pairs."""
    console.print("next:")
    for what, command in commands:
        console.print(Text(f"  {what}:\n", style="dim").append(f"    {command}", style="default"))


def print_faults(recipe: Recipe, findings: Sequence[Finding], unchanged: str) -> None:
    """Prints what is wrong at the end of a run, and what was not measured.

    Args:
        findings: of the last epoch.
        unchanged: says that training did not change success on the test data; "" where it did.
    """
    for fault in [*(f.happened for f in findings if f.is_fault), *filter(None, [unchanged])]:
        console.print(Text(f"! {fault}", style="yellow"), soft_wrap=not console.is_terminal)
    task = recipe.task
    if not (task.test or task.eval or task.ood):
        console.print("no test data: success on unseen samples was not measured")


def next_commands(
    run: Run, model: Path, words: Sequence[str], recipe: Recipe, findings: Sequence[Finding], unchanged: bool = False
) -> list[tuple[str, str]]:
    """(what it does, the command) of three things to do after a run. What went wrong comes first.

    Args:
        run: the run.
        model: its last checkpoint.
        words: what stood behind ``p2o train``.
        recipe: what they say.
        findings: of the last epoch.
        unchanged: whether training did not change success on the test data, so that a longer run comes next.
    """
    own = [words[0], *settings_without(words[1:], RUN_KEYS)]
    commands = [(f.advice, f.command(own)) for f in findings if f.command(own)]
    longer = f"{2 * recipe.training.num_train_epochs:g}"
    kept = settings_without(own, {"num_train_epochs"})
    further = ["p2o", "train", *kept, "--output_dir", str(run.path), "--resume", "--num_train_epochs", longer]
    train_on = [("train on, twice as long in all", shlex.join(further))] if recipe.training.max_steps <= 0 else []
    commands += train_on if unchanged else []
    if recipe.task.test:
        pool = ["--pool", str(run.path)] if run.last_pool and any(t.text for t in run.last_pool.pool) else []
        what = "what the templates still add, and pass@k" if pool else "mean@k and pass@k"
        commands.append((what, shlex.join(["p2o", "eval", str(model), *own, "--draws", str(DRAWS), *pool])))
        compare = ["p2o", "compare", *settings_without(own, {"arms"}), "--arms", "grpo_equal,p2o"]
        commands.append(("against plain GRPO at the same cost", shlex.join(compare)))
    commands += [] if unchanged else train_on
    return commands[:COMMANDS]
