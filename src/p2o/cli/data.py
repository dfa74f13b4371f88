"""``p2o data``: the paper's training and evaluation sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..base.terminal import console
from ..errors import ConfigError


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser("data", help="prepare the paper's training and evaluation sets", allow_abbrev=False)
    parser.set_defaults(run=run)
    sets = parser.add_subparsers(dest="set", required=True, metavar="SET")
    for name, size in (("deepscaler", "40,000"), ("deepmath", "103,000")):
        part = sets.add_parser(name, help=f"training and dev rows out of {name}'s {size}", allow_abbrev=False)
        part.add_argument("--size", type=int, default=5000, help="training rows (the paper: 5000 and 10000)")
        part.add_argument("--dev", type=int, default=500, help="dev rows (the paper: 500)")
        part.add_argument("--difficulty", type=float, help="least difficulty (deepmath; the paper: 7)")
        part.add_argument("--seed", type=int, default=42, help="of the draw (default 42, as in the reference)")
        part.add_argument("--solved", action="store_true", help="leave out rows without a solution")
        _add_places(part)
    benchmark = sets.add_parser("eval", help="one of the paper's evaluation sets", allow_abbrev=False)
    benchmark.add_argument("name", help="aime24, aime25, amc23, math500, minerva or olympiadbench")
    _add_places(benchmark)


def _add_places(part: argparse.ArgumentParser) -> None:
    part.add_argument("--source", default="", help="a file, folder or hub name with the same columns")
    part.add_argument("--out", help="the folder to write to")


def run(args: argparse.Namespace) -> int:
    """Writes the rows of a set and says what was left out."""
    out = Path(args.out) if args.out else None
    return _evaluation_set(args, out) if args.set == "eval" else _training_set(args, out)


def _evaluation_set(args: argparse.Namespace, out: Path | None) -> int:
    from ..base.spelling import nearest
    from ..data.evaluation_sets import EVAL_SETS, draws, eval_to

    if args.name not in EVAL_SETS:
        raise ConfigError(f"there is no evaluation set {args.name!r}{nearest(args.name, EVAL_SETS)}; "
                          f"there are {', '.join(EVAL_SETS)}")  # fmt: skip
    count, files = eval_to(args.name, out, args.source)
    console.print(f"{args.name}: {count} items in {', '.join(map(str, files))}")
    console.print(f"the paper's protocol: p2o eval MODEL RECIPE --test {files[0]} --draws {draws(count)}")
    return 0


def _training_set(args: argparse.Namespace, out: Path | None) -> int:
    from ..data.training_sets import prepare_to
    from ..rewards import readable_answers

    for part in ("size", "dev"):
        if getattr(args, part) < 1:
            raise ConfigError(f"--{part} is {getattr(args, part)}; it must be at least 1")
    draw = {name: getattr(args, name) for name in ("size", "dev", "difficulty", "seed", "source", "solved")}
    made, files = prepare_to(args.set, out, readable_answers, **draw)
    console.print(f"{args.set}: {len(made.train)} rows for training, {len(made.dev)} for dev")
    for reason, number in made.left_out.items():
        console.print(f"  left out: {number} {reason}")
    console.print("written: " + ", ".join(map(str, files)))
    return 0
