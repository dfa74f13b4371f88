"""``p2o completion``: a script with which the shell completes commands, recipes and their keys (made by `shtab`)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..base.terminal import console
from .settings import options_of

if TYPE_CHECKING:
    pass

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "completion",
        help="print a script with which the shell completes p2o's commands and keys",
        description="Prints a completion script. bash: p2o completion bash > "
        "~/.local/share/bash-completion/completions/p2o; zsh: p2o completion zsh > a file _p2o in a folder of $fpath; "
        "fish: p2o completion fish > ~/.config/fish/completions/p2o.fish. A new shell uses it.",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    import shtab

    from ..runs.keys import recipe_keys
    from ..runs.reading import shipped_recipes

    keys = recipe_keys()
    commands = next(a for a in args.parser._actions if isinstance(a, argparse._SubParsersAction))
    for parser in commands.choices.values():
        for action in parser._actions:
            if action.dest == "recipe":
                action.complete = RECIPES  # type: ignore[attr-defined]
            elif action.dest in ("data", "model", "runs", "out", "pool", "source"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        if parser.get_default("takes_settings"):
            own = options_of(parser)
            for key in (key for key in keys if f"--{key.name}" not in own):
                parser.add_argument(f"--{key.name}", choices=key.choices or None, help=key.sentence.replace("%", "%%"))
    console.print(shtab.complete(args.parser, args.shell, preamble=_recipes(shipped_recipes())), end="")
    return 0


RECIPES = {"bash": "_p2o_recipes", "zsh": "_p2o_recipes"}


def _recipes(names: list[str]) -> dict[str, str]:
    """Shell functions that complete a recipe: the shipped ones, and files of YAML."""
    words, files = " ".join(names), "*.y*ml"
    return {
        "bash": f"_p2o_recipes() {{ compgen -W '{words}' -- \"$1\"; compgen -f -X '!{files}' -- \"$1\"; }}",
        "zsh": f"_p2o_recipes() {{ _alternative 'recipes:recipe:({words})' 'files:file:_files -g \"{files}\"' }}",
        "fish": "",
    }
