"""``p2o recipes``: the recipes that ship with the package."""

from __future__ import annotations

import argparse
from typing import Any

from ..base.terminal import console


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser("recipes", help="list the recipes that ship with the package")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the recipes: what each is, on what machine, for how long."""
    from ..runs.reading import header_of, shipped_recipes

    for name in shipped_recipes():
        header = header_of(name)
        console.print(f"{name}\n    {header.description}\n    {header.hardware}; {header.time}")
    console.print("p2o train NAME --dry-run prints the plan of one; p2o init DATA writes a recipe for your own data")
    return 0
