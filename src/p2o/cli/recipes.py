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
    """Prints the names, a line for each."""
    from ..runs.reading import shipped_recipes

    for name in shipped_recipes():
        console.print(name)
    return 0
