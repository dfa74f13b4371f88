"""The command line: ``p2o train | eval | evolve``. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .errors import P2OError

OVERRIDES = "Any recipe key can be set on the command line: --key value."


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="p2o",
        description="Joint policy and prompt optimization: GRPO that learns where every rollout fails.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a recipe", description=f"Trains a recipe. {OVERRIDES}")
    train.add_argument("recipe", help="a YAML file, or the name of a shipped recipe such as quickstart")
    train.add_argument("--dry-run", action="store_true", help="print the resolved recipe and stop")
    train.add_argument("--resume", action="store_true", help="go on from the run directory's newest checkpoint")
    evaluation = commands.add_parser(
        "eval",
        help="evaluate a model on a recipe's test data",
        description=f"Evaluates a model, bare. {OVERRIDES}",
    )
    evaluation.add_argument("model", help="a checkpoint folder, a LoRA adapter, a hub name, or builtin:sandbox")
    evaluation.add_argument("recipe")
    evaluation.add_argument("--draws", type=int, default=1, help="rollouts per sample (default 1)")
    evaluation.add_argument("--temp", type=float, default=None, help="default: greedy for 1 draw, else the recipe's")
    evaluation.add_argument("--pool", help="also evaluate under the best template of this pool file")
    evaluation.add_argument("--out", help="write the figures to this JSON file")
    evolution = commands.add_parser(
        "evolve",
        help="evolve templates for the hard samples of a fixed policy",
        description=f"Draws a group of each training sample, evolves templates on the hard ones. {OVERRIDES}",
    )
    evolution.add_argument("recipe")
    commands.add_parser("recipes", help="list the recipes that ship with the package")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; a `P2OError` becomes one sentence on stderr and exit code 2."""
    args, overrides = parser().parse_known_args(argv)
    # Nothing is sent anywhere that the user did not ask for.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return _run(args, overrides)
    except P2OError as error:
        print(f"p2o: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("p2o: interrupted", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    from . import commands

    if args.command == "recipes":
        return commands.recipes()
    if args.command == "train":
        return commands.train(args.recipe, overrides, dry_run=args.dry_run, resume=args.resume)
    if args.command == "eval":
        return commands.evaluate(
            args.model,
            args.recipe,
            overrides,
            draws=args.draws,
            temperature=args.temp,
            pool=args.pool,
            out=args.out,
        )
    return commands.evolve(args.recipe, overrides)


if __name__ == "__main__":
    sys.exit(main())
