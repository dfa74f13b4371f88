"""The command line of p2o. Heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from ..base.terminal import print_traceback, tell
from ..errors import P2OError

OVERRIDES = "Any recipe key can be set on the command line: --key value."


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="p2o",
        description="Joint policy and prompt optimization: GRPO that learns where every rollout fails.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a recipe", description=f"Trains a recipe. {OVERRIDES}")
    train.add_argument("recipe", help="a YAML file, or the name of a shipped recipe such as quickstart")
    train.add_argument("--dry-run", action="store_true", help="print the plan and the resolved recipe, and stop")
    train.add_argument("--resume", action="store_true", help="go on from the run directory's newest checkpoint")
    _add_compare(commands)
    evaluation = commands.add_parser(
        "eval",
        help="evaluate a model on a recipe's test data",
        description=f"Evaluates a model, bare: mean@k, pass@k and greedy accuracy, with intervals. {OVERRIDES}",
    )
    evaluation.add_argument("model", help="a checkpoint folder, a LoRA adapter, a hub name, or builtin:sandbox")
    evaluation.add_argument("recipe")
    evaluation.add_argument("--draws", type=int, default=1, help="rollouts per sample (default 1)")
    evaluation.add_argument("--temp", type=float, default=None, help="default: greedy for 1 draw, else the recipe's")
    evaluation.add_argument("--pool", help="also evaluate under the templates of this pool file, or of a run "
                            "directory: then hint reliance too, on the samples that needed a template")  # fmt: skip
    evaluation.add_argument("--out", help="write the figures to this JSON file")
    evolution = commands.add_parser(
        "evolve",
        help="evolve templates for the hard samples of a fixed policy",
        description=f"Draws a group of each training sample, evolves templates on the hard ones. {OVERRIDES}",
    )
    evolution.add_argument("recipe")
    screen = commands.add_parser(
        "screen",
        help="say beforehand whether P²O is worth its cost on a recipe",
        description="Draws bare groups, evolves templates for the hard ones, and measures on held-out hard samples "
        f"what the templates add and what of it can be distilled. {OVERRIDES}",
    )
    screen.add_argument("recipe")
    screen.add_argument("--samples", type=int, default=200, help="training samples to draw (default 200)")
    screen.add_argument("--out", help="the JSON file with the figures (default: screen.json in output_dir)")
    report = commands.add_parser("report", help="write one HTML page of a run, or of several side by side")
    report.add_argument("runs", nargs="+", metavar="RUN", help="run directories")
    report.add_argument("--out", help="the file to write (default: report.html in the first run's directory)")
    _add_data(commands.add_parser("data", help="prepare the paper's training and evaluation sets"))
    commands.add_parser("recipes", help="list the recipes that ship with the package")
    return top


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="train several methods on one recipe, at equal cost, with several seeds",
        description="Trains each arm with each seed from the same starting policy, and writes compare.json, a table "
        f"and a figure. The same command goes on after a kill; finished runs are kept. {OVERRIDES}",
    )
    compare.add_argument("recipe")
    compare.add_argument("--arms", help="comma-separated (default: grpo,grpo_equal,p2o,p2o_graduated); also grpo_x2, "
                         "random_pool, single_reflection, p2o_one_template, p2o_no_distill, p2o_no_mask, p2o_soft, "
                         "p2o_tau1, prompt_only, and the recipe's own")  # fmt: skip
    compare.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 (default 3)")
    compare.add_argument("--budget", help="cost=TOKENS, rollouts=N or steps=N for every arm (default: the epochs of "
                         "the recipe; grpo_equal is always given what P²O cost)")  # fmt: skip
    compare.add_argument("--group", help="compare on this value of the recipe's eval_group_column alone")
    compare.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    compare.add_argument("--launch", help="what starts a run, such as 'torchrun --nproc_per_node 8'")
    compare.add_argument("--out", help="the folder to write to (default: runs/compare-RECIPE)")


def _add_data(data: argparse.ArgumentParser) -> None:
    sets = data.add_subparsers(dest="set", required=True, metavar="SET")
    for name, size in (("deepscaler", "40,000"), ("deepmath", "103,000")):
        part = sets.add_parser(name, help=f"training and dev rows out of {name}'s {size}")
        part.add_argument("--size", type=int, default=5000, help="training rows (the paper: 5000 and 10000)")
        part.add_argument("--dev", type=int, default=500, help="dev rows (the paper: 500)")
        part.add_argument("--difficulty", type=float, help="least difficulty (deepmath; the paper: 7)")
        part.add_argument("--seed", type=int, default=42, help="of the draw (default 42, as in the reference)")
        _add_places(part)
    benchmark = sets.add_parser("eval", help="one of the paper's evaluation sets")
    benchmark.add_argument("name", help="aime24, aime25, amc23, math500, minerva or olympiadbench")
    _add_places(benchmark)


def _add_places(part: argparse.ArgumentParser) -> None:
    part.add_argument("--source", default="", help="a file, folder or hub name with the same columns")
    part.add_argument("--out", help="the folder to write to")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; a `P2OError` becomes one sentence on stderr and exit code 2."""
    sys.excepthook = print_traceback
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack the characters of our own tables
        sys.stdout.reconfigure(errors="replace")
    args, overrides = parser().parse_known_args(argv)
    # Nothing is sent anywhere that the user did not ask for.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return _run(args, overrides)
    except P2OError as error:
        tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        tell("interrupted")
        return 130


def _run(args: argparse.Namespace, overrides: Sequence[str]) -> int:
    from . import commands

    if args.command == "recipes":
        return commands.recipes()
    if args.command == "screen":
        from . import judge

        return judge.screen(args.recipe, overrides, args.samples, args.out)
    if args.command == "report":
        from . import judge

        return judge.report(args.runs, args.out, overrides)
    if args.command == "compare":
        from ..analysis.compare.command import compare

        return compare(
            args.recipe,
            overrides,
            arms=args.arms,
            seeds=args.seeds,
            budget=args.budget,
            group=args.group,
            jobs=args.jobs,
            launch=args.launch,
            out=args.out,
        )
    if args.command == "data":
        return commands.data(vars(args), overrides)
    if args.command == "train":
        return commands.train(args.recipe, overrides, dry_run=args.dry_run, resume=args.resume)
    if args.command == "eval":
        from . import judge

        return judge.evaluate(
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
