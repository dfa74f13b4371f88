"""Writes docs/terminal/: what `p2o train quickstart` shows on terminals of 120 and 80 columns, and its log in a file.

    p2o train quickstart
    python benchmarks/terminal_text.py runs/quickstart

What was shown is drawn again by the functions that drew it (`p2o.trl.watching`, `p2o.cli.ending`), from the rows of the
run's log, its epochs and its result. Only the times are left out: a run directory does not hold them.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from p2o.analysis import ending as result_ending
from p2o.base import live
from p2o.base.terminal import CleanConsole
from p2o.cli import ending
from p2o.core import display
from p2o.core.cost import CostMeter
from p2o.core.progress import COLUMNS, step_cells
from p2o.core.rollout_log import RolloutLog
from p2o.core.summary import EpochSummary
from p2o.runs.recipe import load_recipe
from p2o.runs.run_directory import Run, read_run
from p2o.trl.watching import Watch

OUT = Path(__file__).resolve().parents[1] / "docs" / "terminal"
WIDTHS = (120, 80)
LIMIT = 10_000
"""Bytes that the log in a file may have."""


def shown(run: Run, width: int | None) -> str:
    """What stays on a terminal of so many columns, and in front of it the part that is redrawn, at one step; None: what
    is written to a file."""
    out = io.StringIO()
    console = CleanConsole(
        file=out, force_terminal=width is not None, width=width or 80, color_system=None, soft_wrap=True
    )
    for module in (display, ending, result_ending, live):
        module.console = console  # type: ignore[attr-defined]
    recipe = load_recipe("quickstart", [], [])
    watch = Watch(run.own, redrawn=False, verbose=False)
    watch.run_by, watch.settings = ["quickstart"], vars(recipe.task)
    rows = [row for row in run.log if "loss" in row]
    view = watch.view
    assert isinstance(view, display.TerminalView)
    view.steps = len(rows)
    if width:
        console.print("$ p2o train quickstart\n\n[the line that is redrawn, at one step]\n")
        for cells in (list(COLUMNS), step_cells(rows[len(rows) // 2], len(rows), None)):
            console.print(display.step_line(cells, len(rows)))
        console.print("\n[what stays]\n")
    rollouts = RolloutLog(run.own)
    for epoch in run.epochs:
        seen = [row for row in run.log if row.get("epoch", 0) <= epoch.number + 1]
        evaluations = [row for row in seen if "eval_bare_success" in row]
        watch._first, watch._last = dict(evaluations[0]), dict(evaluations[-1])
        rollouts.resume(epoch.number)
        for row in () if width else [row for row in rows if epoch.number < row["epoch"] <= epoch.number + 1]:
            view.step(row["step"], step_cells(row, len(rows), None))
        watch.epoch_of(EpochSummary(**epoch.summary), recipe.training, seen, rollouts, _cost(seen))
    result_ending.print_result(run.result, recipe.training.eval_temperature)
    model = Path("runs/quickstart") / f"checkpoint-{rows[-1]['step']}"
    commands = ending.next_commands(_named(run), model, ["quickstart"], recipe, watch.findings)
    ending.print_commands(commands)
    return "\n".join(line.replace(", 0 s", "").rstrip() for line in out.getvalue().splitlines()) + "\n"


def _cost(rows: list[dict[str, Any]]) -> CostMeter:
    """A meter that shows the cost of the last row."""
    meter = CostMeter()
    meter["rollout"].add(scored_tokens=int(next(row["p2o/cost"] for row in reversed(rows) if "p2o/cost" in row)))
    return meter


def _named(run: Run) -> Any:
    return SimpleNamespace(path=Path("runs/quickstart"), last_pool=run.last_pool)


def write(name: str, text: str) -> None:
    """Writes one file, and says how large it is."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text.encode())} bytes, longest line {max(map(len, text.splitlines()))}")


if __name__ == "__main__":
    of = read_run(Path(sys.argv[1]))
    log = shown(of, None)
    if len(log.encode()) > LIMIT:
        raise SystemExit(f"the log has {len(log.encode())} bytes, more than {LIMIT}")
    write("quickstart.log", log)
    for columns in WIDTHS:
        write(f"quickstart-{columns}.txt", shown(of, columns))
