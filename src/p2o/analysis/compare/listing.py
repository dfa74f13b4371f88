"""``p2o compare --list``: the arms in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ...base.terminal import console
from ...runs.recipe import load_recipe
from .arms import ARMS, arms_of, given_to


def list_arms(name: str | None, overrides: Sequence[str]) -> int:
    """Prints the arms of a recipe (of the quickstart without one), with what each is given beside the rewards."""
    recipe = load_recipe(name or "quickstart", overrides)
    shown = Table(title=f"Arms of {recipe.name}", title_justify="left")
    for column in ("arm", "given", "what it is"):
        shown.add_column(column, overflow="fold", no_wrap=column == "arm")
    for arm in arms_of(recipe, [*ARMS, *recipe.task.arms]):
        given = given_to(arm, recipe.training.method, recipe.task.reflector, recipe.training.template_worth)
        shown.add_row(*map(escape, (arm.name, given, arm.what)))
    console.print(shown)
    console.print("file.py:Class is an arm too: a method of your own (docs/architecture.md)", markup=False)
    return 0
