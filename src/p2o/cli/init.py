"""``p2o init``: a first recipe for a data file."""

from __future__ import annotations

import argparse
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.coerce import coerce
from ..base.files import write_text
from ..base.terminal import console
from ..errors import ConfigError, P2OError
from .settings import ANY_SETTING

if TYPE_CHECKING:
    from ..runs.plan import Plan


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "init",
        help="write a commented recipe for a data file",
        description="Finds the columns of a data file and proposes rewards, K, tau, batch, dev size and budget for its "
        "number of samples; or, with --verl, takes what a verl configuration says: model, data, reward function, "
        f"lengths, sampling and P²O's settings. {ANY_SETTING}",
        allow_abbrev=False,
    )
    parser.add_argument("data", help="a .jsonl, .json, .csv or .parquet file, a folder, or a name of the hub; with "
                        "--verl a verl configuration")  # fmt: skip
    parser.add_argument("--verl", action="store_true", help="the file is Hydra's config.yaml or overrides.yaml of a "
                        "verl command, or the config.yaml of a run of P²O on verl")  # fmt: skip
    parser.add_argument("-o", "--out", default="recipe.yaml", help="the recipe to write (default: recipe.yaml)")
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Writes the recipe, and prints its plan and the next commands."""
    from ..data.sources import read
    from ..runs.keys import recipe_keys
    from ..runs.plan import make_plan, plan_lines
    from ..runs.proposal import recipe_text
    from ..runs.reading import parse_words
    from ..runs.recipe import load_recipe
    from ..verl.command_file import read_configuration
    from ..verl.conversion import recipe_settings

    out = Path(args.out)
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"the recipe {args.out} does not end in .yaml; give such a name with -o")
    if out.exists():
        raise ConfigError(f"{out} is there already; give another name with -o")
    hints = {key.name: key.hint for key in recipe_keys()}
    of_verl = recipe_settings(read_configuration(args.data), args.data) if args.verl else {}
    given = {key: coerce(key, value, hints[key]) for key, value in of_verl.items()} | {
        key: coerce(f"--{key}", one.value, hints[key], one.text) if key in hints else one.value
        for key, one in parse_words(settings).items()
    }
    data = str(given.pop("train")) if args.verl else args.data
    rows = read(data, given.get("train_split"), None)

    def planned(samples: int) -> Plan:
        write_text(out, recipe_text(data, rows, given, out.parent, samples))
        return make_plan(load_recipe(str(out), (), args.options))

    try:
        plan = planned(len(rows))
        if plan.samples and plan.samples != len(rows):  # some rows cannot be used, or are there twice
            with warnings.catch_warnings(action="ignore"):  # it has said so
                plan = planned(plan.samples)
    except P2OError:
        out.unlink(missing_ok=True)  # the same command, with what was wrong put right, writes it again
        raise
    console.print("\n".join(plan_lines(plan)))
    console.print(f"the recipe is in {out}; read it, then ask whether P²O is worth it, and train:")
    console.print(f"  {shlex.join(['p2o', 'screen', str(out)])}\n  {shlex.join(['p2o', 'train', str(out)])}")
    return 0
