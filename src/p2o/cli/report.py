"""``p2o report``: one HTML page of a run, or of several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..base.terminal import console

DEFAULT = "report.html in the run's directory; for several runs comparison.html in the first one's"


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "report", help="write one HTML page of a run, or of several side by side", allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories")
    parser.add_argument("--out", help=f"the file to write (default: {DEFAULT})")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the page and says where it is."""
    from ..analysis.report import write_report

    path = write_report([Path(run) for run in args.runs], Path(args.out) if args.out else None)
    console.print(f"the report is in {path}")
    return 0
