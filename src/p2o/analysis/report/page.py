"""Assembles the page: figures and charts by jinja, texts of models and data sets as escaped JSON.

Nothing that a model, a server or a data set wrote is trusted: every text is cleaned of control characters, jinja
escapes it, and the page lets only its own script run and loads nothing (Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...base.files import write_text
from ...base.terminal import percent
from ...base.text import clean_text
from ...core.states import STATES
from ...runs.run_directory import Epoch, Run, read_run
from ..findings import BOUNDS, masked_share, run_by, run_findings
from . import charts, states
from .payload import MAX_ROLLOUT_CHARS, MAX_ROWS, payload
from .story import headline, story
from .tree import layout


def write_report(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Writes the report of one run, or of several side by side.

    Args:
        out: default: in the first run's directory, ``report.html`` for one run, ``comparison.html`` for several.

    Raises:
        StateError: a directory holds no run, or files of another version.
    """
    name = "report.html" if len(run_dirs) == 1 else "comparison.html"
    return write_page([read_run(path) for path in run_dirs], out or run_dirs[0] / name)


def write_page(runs: Sequence[Run], target: Path) -> Path:
    """Writes the page of runs that were read."""
    for parts in range(2, 2 + max(len(run.path.resolve().parts) for run in runs)):
        if len({run.name for run in runs}) == len(runs):
            break
        for run in runs:  # seed-0/run, seed-1/run
            run.name = "/".join(run.path.resolve().parts[-parts:])
    write_text(target, render(runs))
    return target


def render(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("p2o", "analysis/report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_cleaned,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = "{:g}".format
    environment.filters["whole"] = lambda text: str(text).replace(" %", "\N{NO-BREAK SPACE}%")
    script = loader.get_source(environment, "page.js")[0]
    budget = MAX_ROLLOUT_CHARS // len(runs)
    views = [_view(run, n) for n, run in enumerate(runs)]
    return environment.get_template("page.html.jinja").render(
        title="P²O · " + ", ".join(run.name for run in runs),
        runs=views,
        labels=list(dict.fromkeys(figure.label for view in views for figure in view["headline"])),
        comparison=_comparison(runs) if len(runs) > 1 else [],
        differences=differing_keys(runs),
        states=STATES,
        data={"runs": [payload(run, budget) for run in runs], "states": STATES},
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        percent=percent,
    )


def _cleaned(value: Any) -> Any:
    """What jinja does to every value before it escapes it; markup of the page's own is left as it is."""
    return clean_text(value) if type(value) is str else value


def _comparison(runs: Sequence[Run]) -> list[tuple[str, str]]:
    by_step = {key: [(run.name, run.logged(key)) for run in runs] for key in ("reward", "p2o/bare_success")}
    by_epoch = [(run.name, run.logged("eval_bare_success")) for run in runs]
    by_cost = [(run.name, _by_cost(run)) for run in runs]
    return [
        ("Reward in training", charts.lines("cmp-reward", by_step["reward"], share=False, dots=False, floor=False)),
        ("Bare success in training", charts.lines("cmp-bare", by_step["p2o/bare_success"], dots=False)),
        ("Bare held-out success by epoch", charts.lines("cmp-epoch", by_epoch)),
        ("The same by cost (forward-equivalent tokens)", charts.lines("cmp-cost", by_cost, xlabel="tokens")),
    ]


def _by_cost(run: Run) -> list[tuple[float, float]]:
    """(cost so far, bare held-out success) at each evaluation."""
    points, cost = [], 0.0
    for row in run.log:
        cost = row.get("p2o/cost", cost)
        if "eval_bare_success" in row:
            points.append((cost, row["eval_bare_success"]))
    return points


def differing_keys(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """(key, its value in each run) of the keys of the recipes that are not the same in all runs."""
    keys = sorted({key for run in runs for key in run.settings} - {"output_dir", "run_name", "if_exists"})
    rows = [(key, [str(run.settings.get(key, "default")) for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _view(run: Run, n: int) -> dict[str, Any]:
    """What the template shows of a run without script."""
    prefix = f"r{n}"
    rows = states.matrix(run.epochs)
    config = run.settings
    low, high = (float(config.get(key, default)) for key, default in BOUNDS.items())
    curves = [
        ("Reward in training", charts.reward(run, f"{prefix}-reward")),
        ("Bare success on held-out data", charts.held_out(run, f"{prefix}-held")),
        ("The same training samples, with template and bare", charts.training_success(run, f"{prefix}-pair")),
        ("Tool calls of a rollout", charts.tool_calls(run, f"{prefix}-calls")),
        ("Tool calls that failed", charts.tool_failures(run, f"{prefix}-failed")),
        ("Groups by step", charts.groups_by_step(run, f"{prefix}-groups")),
        ("State of all samples", _states(run, rows, f"{prefix}-states")),
        ("Hard, rescued, graduated samples", charts.rescued_graduated(run, f"{prefix}-resc")),
        ("Cost by phase, in forward-equivalent tokens", charts.cost_by_phase(run.cost, f"{prefix}-cost")),
        ("Best dev score of each evolution", charts.best_scores(run, f"{prefix}-best")),
    ]
    histograms = [
        (_masked(e, config), charts.ratio_histogram(e.record, low, high, f"{prefix}-ratio{e.number}"))
        for e in run.epochs
    ]
    return {
        "name": run.name,
        "headline": headline(run, rows),
        "story": story(run, rows),
        "notes": _no_room(run),
        "findings": [(f.is_fault, f.lines(run_by(run))) for f in run_findings(run)],
        "curves": [c for c in curves if c[1]],
        "evolutions": [_evolution(run, epoch) for epoch in run.evolutions],
        "samples": len(rows),
        "in_need": len(states.in_need(rows)),
        "rows": min(MAX_ROWS, len(states.in_need(rows))),
        "histograms": [h for h in histograms if h[1]],
        "bounds": (low, high),
        "distillation": config.get("distillation", ""),
        "cost": {k: v for k, v in run.cost.items() if isinstance(v, Mapping)},
        "config": run.config,
    }


def _states(run: Run, rows: Mapping[str, Sequence[str]], name: str) -> str:
    return charts.states(states.counts(rows, len(run.epochs)), name) if rows else ""


def _masked(epoch: Epoch, settings: Mapping[str, Any]) -> str:
    """The caption of an epoch's ratios."""
    share = masked_share(epoch.record, settings)
    return f"epoch {epoch.number + 1}: {percent(share)} of the tokens are outside"


def _no_room(run: Run) -> list[str]:
    """Which held-out prompts are in no figure, because they leave no room for a completion."""
    last: dict[str, Any] = next((row for row in reversed(run.log) if "eval_no_room" in row), {})
    figures = run.result.get("after") or last
    return [
        f"{percent(share)} of the {key.removesuffix('_no_room').replace('_', ' ')} prompts leave no room for a "
        "completion in the context. They are counted in no figure."
        for key, share in figures.items()
        if key.endswith("_no_room")
    ]


def _evolution(run: Run, epoch: int) -> dict[str, Any]:
    evolution = run.evolutions[epoch]
    pool = next((e.pool for e in run.epochs if e.number == epoch), None)  # None: not written yet
    scored = all(t.get("scored", True) for t in pool or [])
    solved = [set(t["solves"]) for t in pool or []]
    return {
        "epoch": epoch,
        "tree": layout(evolution.candidates),
        "fates": evolution.fates,
        "spent": evolution.cost.metric_calls,
        "budget": evolution.budget,
        "stopped": evolution.stopped,
        "warnings": evolution.warnings,
        "dev": len(evolution.dev_ids),
        "covered": len(set().union(*solved)) if pool and scored else None,
        "pool_size": None if pool is None else len(pool),
        "scored": scored,
        "pool": [
            {"text": t["text"], "weight": t["weight"], "solves": len(s), "strip": [i in s for i in evolution.dev_ids]}
            for t, s in zip(pool or [], solved, strict=True)
        ],
    }
