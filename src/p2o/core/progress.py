"""The figures of a run that a person reads while it trains, as short texts. Pure.

Each row shows one thing in one unit: a step's row its groups, an epoch's row its samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.terminal import percent
from ..base.text import counted
from .cost import CostMeter
from .summary import EpochSummary

COLUMNS = {"step": 9, "reward": 6, "bare": 6, "templated": 9, "no spread": 9, "rescued": 7, "graduated": 9,
           "cost": 6, "left": 6}  # fmt: skip
"""Column of a step's row → its width in characters: 75 in all, with a space between two."""

Rows = Sequence[tuple[str, str]]
"""Names and values."""


def step_cells(log: Mapping[str, Any], steps: int, seconds_left: float | None) -> list[str]:
    """A row of the log in short: one text for each of `COLUMNS`.

    The shares are of the rollouts (bare, templated) and of the groups (no spread, rescued, graduated) since the row
    before; the cost is the run's so far.

    Args:
        log: names and values, with the step.
        steps: of the whole run.
        seconds_left: None when that is not known yet.
    """
    shares = ("bare_success", "templated_success", "no_spread", "rescued_groups", "graduated_groups")
    reward, cost = log.get("reward"), log.get("p2o/cost")
    return [
        f"{log['step']:>{len(str(steps))}}/{steps}",
        "–" if reward is None else f"{reward:.3g}",
        *("–" if (share := log.get(f"p2o/{name}")) is None else f"{100 * share:.0f} %" for name in shares),
        "–" if cost is None else short(cost),
        "–" if seconds_left is None else duration(seconds_left),
    ]


def step_line(cells: Sequence[str], steps: int) -> str:
    """The cells (or the names of the columns) under each other, as one line of less than 80 characters.

    Args:
        steps: of the whole run.
    """
    widths = [max(len("step"), 2 * len(str(steps)) + 1), *list(COLUMNS.values())[1:]]
    return " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def plain_rows(rows: Rows) -> str:
    """Names and values as lines, each value on one line behind its name: for a file."""
    return "\n".join(f"  {name}: {' '.join(value.split())}" for name, value in rows)


def all_figures(log: Mapping[str, Any]) -> str:
    """All figures of a row of the log on one line, without quotation marks, in the order of their names."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in log.items()}
    return "  ".join(f"{name} {shown[name]}" for name in sorted(shown))


def evaluation_line(log: Mapping[str, Any], prefix: str = "eval") -> str:
    """``41.0 % (easy 97.5 %, hard 26.9 %)``: bare success of an evaluation, and of each group of its data."""
    key = f"{prefix}_bare_success"
    groups = [f"{name.removeprefix(f'{key}_')} {percent(log[name])}" for name in log if name.startswith(f"{key}_")]
    return percent(log[key]) + (f" ({', '.join(groups)})" if groups else "")


def epoch_rows(
    summary: EpochSummary,
    evaluation: Mapping[str, Any],
    first: Mapping[str, Any],
    cost: CostMeter,
    seconds: float,
) -> Rows:
    """What an epoch came to: (name, value) rows.

    Args:
        evaluation: figures of the evaluation after the epoch; empty: not evaluated.
        first: those of the run's first evaluation.
        cost: the run's cost so far.
        seconds: time since training began.
    """
    rows = []
    if evaluation:
        change = "" if evaluation == first else f"; before {percent(first['eval_bare_success'])}"
        rows.append(("evaluation data, bare", evaluation_line(evaluation) + change))
    s = summary
    rows.append(("rollouts solved", f"bare {percent(s.bare_success)}, templated {percent(s.templated_success)}"))
    if s.paired_bare_success is not None:
        pair = f"bare {percent(s.paired_bare_success)}, templated {percent(s.paired_templated_success)}"
        rows.append(("samples drawn both ways", pair))
    split = f"{s.all_failed} all failed, {s.all_solved} all solved"
    rows.append(("no spread of rewards", f"{s.no_spread} of {s.groups} groups ({split})"))
    rows.append(("samples in this epoch", f"hard {s.hard}, rescued {s.rescued}, forgotten {s.forgotten}"))
    rows.append(("samples so far", f"graduated {s.graduated}"))
    if s.forgotten:
        rows.append(("forgotten", f"{counted(s.forgotten, 'sample')}, mastered in an earlier epoch"))
    if s.evolved:
        solves = "not scored" if s.covered is None else f"solving {s.covered} of {s.dev_size} dev samples"
        rows.append(("evolution", f"{counted(s.candidates, 'candidate')}, {s.pool} kept, {solves}"))
    if s.best_template:
        rows.append((f"best template ({percent(s.best_dev_score)})", s.best_template))
    if s.templated_next:
        rows.append(("templates next epoch", f"for {counted(s.templated_next, 'sample')}"))
    rows.append(("cost so far", f"{short(cost.training_cost)} forward-equivalent tokens, {duration(seconds)}"))
    return rows


def short(number: float) -> str:
    """1234567 → "1.23 M"."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """``42 s``, ``3:05``, ``2:03:05``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
