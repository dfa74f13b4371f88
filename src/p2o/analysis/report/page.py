"""Assembles the page: figures and charts by jinja, texts of models and data sets as escaped JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from ...base.terminal import percent
from ...base.text import shorten
from ...core.diagnosis import flat_reason
from ...core.rollout_log import reading_order
from ...core.states import STATES
from ...core.summary import EpochSummary
from ...runs.run_directory import Epoch, Run, read_run
from . import charts, states
from .story import headline, story
from .tree import layout

MAX_ROWS = 300
"""Samples in the matrix."""
MAX_ROLLOUT_CHARS = 900_000
"""Text of prompts and rollouts in one page; samples beyond it show their counts only."""
MAX_REFUSED_CHARS = 400_000
"""Text of refused templates in one page."""
TEXT_OVERHEAD = 40
"""Characters of JSON around each rollout."""


def write_report(run_dirs: Sequence[Path], out: Path | None = None) -> Path:
    """Writes the report of one run, or of several side by side.

    Args:
        out: default: ``report.html`` in the first run's directory.

    Raises:
        StateError: a directory holds no run, or files of another version.
    """
    target = out or run_dirs[0] / "report.html"
    runs = [read_run(path) for path in run_dirs]
    if len({run.name for run in runs}) < len(runs):  # seed-0/run, seed-1/run
        for run in runs:
            run.name = str(run.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(runs), encoding="utf-8")
    return target


def render(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("p2o", "analysis/report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    budget = MAX_ROLLOUT_CHARS // len(runs)
    views = [_view(run, n) for n, run in enumerate(runs)]
    return environment.get_template("page.html.jinja").render(
        title="P²O · " + ", ".join(run.name for run in runs),
        runs=views,
        columns=list(dict.fromkeys(figure.label for view in views for figure in view["headline"])),
        comparison=_comparison(runs) if len(runs) > 1 else [],
        states=STATES,
        data={"runs": [payload(run, budget) for run in runs], "states": STATES},
        percent=percent,
        short=charts.short,
    )


def _comparison(runs: Sequence[Run]) -> list[tuple[str, str]]:
    by_epoch = [(run.name, run.logged("eval_bare_success")) for run in runs]
    by_cost = [
        (run.name, [(row["p2o/cost"], row["eval_bare_success"]) for row in run.log
                    if "p2o/cost" in row and "eval_bare_success" in row])
        for run in runs
    ]  # fmt: skip
    return [
        ("Bare held-out success by epoch", charts.lines("cmp-epoch", by_epoch)),
        ("The same by cost (forward-equivalent tokens)", charts.lines("cmp-cost", by_cost, xlabel="tokens")),
    ]


def _view(run: Run, n: int) -> dict[str, Any]:
    """What the template shows of a run without script."""
    prefix = f"r{n}"
    rows = states.matrix(run.epochs)
    config = _config(run)
    low, high = float(config.get("ratio_low", 0.01)), float(config.get("ratio_high", 10.0))
    curves = [
        ("Bare success on held-out data", charts.held_out(run, f"{prefix}-held")),
        ("The same training samples, with template and bare", charts.training_success(run, f"{prefix}-pair")),
        ("Groups by step", charts.groups_by_step(run, f"{prefix}-groups")),
        ("Hard, rescued, graduated samples", charts.rescued_graduated(run, f"{prefix}-resc")),
        ("Cost by phase, in forward-equivalent tokens", charts.cost_by_phase(run.cost, f"{prefix}-cost")),
        ("Best dev score of each evolution", charts.best_scores(run, f"{prefix}-best")),
    ]
    histograms = [
        (f"epoch {e.number + 1}", charts.ratio_histogram(e.record, low, high, f"{prefix}-ratio{e.number}"))
        for e in run.epochs
    ]
    return {
        "name": run.name,
        "headline": headline(run, rows),
        "story": story(run, rows),
        "flat": [line for e in run.epochs if (line := _flat(e))],
        "curves": [c for c in curves if c[1]],
        "states": charts.states(states.counts(rows, len(run.epochs)), f"{prefix}-states") if rows else "",
        "evolutions": [_evolution(run, epoch) for epoch in run.evolutions],
        "in_need": len(states.in_need(rows)),
        "histograms": [h for h in histograms if h[1]],
        "bounds": (low, high),
        "cost": {k: v for k, v in run.cost.items() if isinstance(v, Mapping)},
        "config": run.config,
    }


def _flat(epoch: Epoch) -> str | None:
    """Why an epoch taught next to nothing, where that is a fault: not when all is solved."""
    known = EpochSummary.__dataclass_fields__
    summary = EpochSummary(**{k: v for k, v in epoch.summary.items() if k in known})
    reason = flat_reason(summary) if summary.all_failed > summary.all_solved else None
    return f"Epoch {epoch.number + 1}: {reason}." if reason else None


def _config(run: Run) -> dict[str, Any]:
    content = yaml.safe_load(run.config) if run.config else {}
    return content if isinstance(content, dict) else {}


def _evolution(run: Run, epoch: int) -> dict[str, Any]:
    evolution = run.evolutions[epoch]
    pool = next((e.pool for e in run.epochs if e.number == epoch), [])
    solved = [set(t["solves"]) for t in pool]
    return {
        "epoch": epoch,
        "tree": layout(evolution.candidates),
        "fates": evolution.fates,
        "spent": evolution.cost.metric_calls,
        "budget": evolution.budget,
        "stopped": evolution.stopped,
        "warnings": evolution.warnings,
        "dev": len(evolution.dev_ids),
        "covered": len(set().union(*solved)),
        "pool": [
            {"text": t["text"], "weight": t["weight"], "solves": len(s), "strip": [i in s for i in evolution.dev_ids]}
            for t, s in zip(pool, solved, strict=True)
        ],
    }


def payload(run: Run, max_chars: int) -> dict[str, Any]:
    """What the script shows on a click."""
    rows = states.in_need(states.matrix(run.epochs))
    shown = sorted(rows, key=reading_order)[:MAX_ROWS]
    order = states.by_story({i: rows[i] for i in shown})
    tallies = {i: [_counts(e.tallies[i]) if i in e.tallies else None for e in run.epochs] for i in order}
    return {
        "epochs": [e.number + 1 for e in run.epochs],
        "rows": [[i, *rows[i]] for i in order],
        "tallies": tallies,
        **_rollouts(run, order, max_chars),
        "evolutions": _candidates(run),
    }


def _candidates(run: Run) -> dict[int, list[dict[str, Any]]]:
    """All candidates by evolution. When they are too many for the page, the refused ones lose their middle."""
    rows = {n: [_without_empty(asdict(c)) for c in e.candidates] for n, e in run.evolutions.items()}
    refused = [c for own in rows.values() for c in own if c["fate"] not in ("seed", "accepted")]
    room = MAX_REFUSED_CHARS // max(1, len(refused))
    if sum(len(c["template"]) for c in refused) > MAX_REFUSED_CHARS:
        for c in refused:
            c["template"] = shorten(c["template"], max(room, 80))
    return rows


def _counts(tally: Mapping[str, int]) -> list[int]:
    return [tally["bare"], tally["bare_solved"], tally["templated"], tally["templated_solved"]]


def _without_empty(candidate: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in candidate.items() if v not in (None, [])}


def _rollouts(run: Run, ids: Sequence[str], max_chars: int) -> dict[str, Any]:
    """Prompts and rollouts of as many samples as fit, whole samples over all epochs."""
    samples: dict[str, Any] = {}
    templates: list[str] = []
    room = max_chars
    for i in sorted(ids, key=reading_order):
        kept = [(n, e.record, e.record["samples"][i]) for n, e in enumerate(run.epochs)
                if i in e.record.get("samples", {})]  # fmt: skip
        if not kept:
            continue
        room -= len(kept[0][2]["prompt"]) + sum(len(r[1]) + TEXT_OVERHEAD for *_, s in kept for r in s["rollouts"])
        if room < 0:
            break
        by_epoch = {n: [_rollout(r, record["templates"], templates) for r in s["rollouts"]] for n, record, s in kept}
        samples[i] = {"prompt": kept[0][2]["prompt"], "answer": kept[0][2]["answer"], "rollouts": by_epoch}
    return {"samples": samples, "templates": templates}


def _rollout(row: Sequence[Any], local: Sequence[str], templates: list[str]) -> list[Any]:
    """A recorded rollout, its template's place in the run's list instead of the epoch's."""
    place, completion, reward, solved = row
    if place is None:
        return [None, completion, reward, solved]
    if local[place] not in templates:
        templates.append(local[place])
    return [templates.index(local[place]), completion, reward, solved]
