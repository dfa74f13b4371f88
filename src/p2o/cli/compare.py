"""``p2o compare``: several methods on one recipe, at equal cost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from .settings import ANY_SETTING, RECIPE


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "compare",
        help="train several methods on one recipe, at equal cost, with several seeds",
        allow_abbrev=False,
        description="Trains each arm with each seed from the same starting policy, and writes compare.json, a table "
        f"and a figure. The same command continues after a kill; finished runs are kept. {ANY_SETTING}",
    )
    parser.add_argument("recipe", nargs="?", help=f"{RECIPE}; with --engine verl the overrides of a verl command, a "
                        "YAML list such as outputs/DATE/TIME/.hydra/overrides.yaml")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="describe the arms, and what each is given; train nothing")
    parser.add_argument("--engine", choices=("trl", "verl"), default="trl", help="what trains (default trl)")
    parser.add_argument("--arms", help="comma-separated (default: grpo,grpo_equal,p2o,p2o_solved); see --list; also "
                        "the recipe's own, and file.py:Class (your own method)")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 (default 3)")
    parser.add_argument("--budget", help="cost=TOKENS, rollouts=N or steps=N for every arm (default: the epochs of "
                        "the recipe; grpo_equal is always given what the dearest other method cost)")  # fmt: skip
    parser.add_argument("--group", help="compare on this value of the recipe's eval_group_column alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    parser.add_argument("--launch", help="what starts a run, such as 'torchrun --nproc_per_node 8'")
    parser.add_argument("--out", help="the folder to write to (default: runs/compare-RECIPE)")
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Trains the runs that are not finished, and writes the comparison."""
    from ..analysis.compare.command import compare
    from ..analysis.compare.listing import list_arms
    from ..verl.comparison import compare_on_verl

    if args.list:
        return list_arms(args.recipe, settings)
    if args.recipe is None:
        raise ConfigError("compare needs a recipe; `p2o recipes` lists those that come with the package")
    engine = compare_on_verl if args.engine == "verl" else compare
    return engine(
        args.recipe,
        settings,
        arms=args.arms,
        seeds=args.seeds,
        budget=args.budget,
        group=args.group,
        jobs=args.jobs,
        launch=args.launch,
        out=args.out,
    )
