"""The headline of a run: its figures, and what they say in one paragraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.terminal import percent
from ...runs.run_directory import Run
from .charts import short


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    note: str = ""
    tone: str = ""
    """"good" or "bad"."""


def headline(run: Run, rows: Mapping[str, Sequence[str]]) -> list[Figure]:
    """The figures one looks at first."""
    figures = []
    held = success(run)
    if held:
        before, after, data = held
        figures.append(
            Figure(
                f"bare success ({data})",
                percent(after),
                f"{percent(before)} before: {100 * (after - before):+.1f} points",
                "good" if after > before else "bad",
            )
        )
    if run.epochs:
        counts = story_counts(run, rows)
        first, last = run.epochs[0].summary, run.epochs[-1].summary
        figures += [
            Figure("needed a template", str(counts["needed"]), f"of {len(rows)} samples"),
            Figure("rescued", str(counts["rescued"]), "solved under a template at least once"),
            Figure("graduated", str(counts["graduated"]), "then solved bare", "good" if counts["graduated"] else ""),
            Figure("all rollouts failed", percent(failed(last)), f"of the groups; {percent(failed(first))} at first"),
        ]
    if run.cost:
        figures.append(Figure("training cost", short(run.cost["training_cost"]), "forward-equivalent tokens"))
        figures.append(Figure("of it the prompt step", percent(prompt_share(run.cost)), "evolution and reflection"))
        seconds = sum(phase["seconds"] for phase in run.cost.values() if isinstance(phase, Mapping))
        rollouts = sum(p["rollouts"] for n, p in run.cost.items() if isinstance(p, Mapping) and n != "evaluate")
        figures.append(Figure("time", f"{seconds / 60:.1f} min", f"{rollouts:,} rollouts"))
    return figures


def story(run: Run, rows: Mapping[str, Sequence[str]]) -> str:
    """One paragraph in plain words."""
    counts = story_counts(run, rows)
    parts = [f"Every rollout of {counts['all_failed']} of {len(rows)} samples failed in some epoch."] if rows else []
    if counts["needed"]:
        parts.append(
            f"{counts['needed']} were given evolved templates; {counts['rescued']} of these were solved under one, "
            f"and {counts['graduated']} were then solved on the bare prompt."
        )
    held = success(run)
    if held:
        verb = "rose" if held[1] > held[0] else "fell" if held[1] < held[0] else "stayed"
        parts.append(f"Bare success on the {held[2]} data {verb} from {percent(held[0])} to {percent(held[1])}.")
    if run.cost and run.evolutions:
        parts.append(f"The prompt step took {percent(prompt_share(run.cost))} of the training cost.")
    return " ".join(parts)


def story_counts(run: Run, rows: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many samples all failed, had a template, were rescued, graduated or forgotten in some epoch."""
    tallies = [(i, tally) for epoch in run.epochs for i, tally in epoch.tallies.items()]
    return {
        "all_failed": len({i for i, tally in tallies if not tally["bare_solved"] + tally["templated_solved"]}),
        "needed": len({i for i, tally in tallies if tally["templated"]}),
        "rescued": len({i for i, tally in tallies if tally["templated_solved"]}),
        "graduated": sum("graduated" in row for row in rows.values()),
        "forgotten": sum("forgotten" in row for row in rows.values()),
    }


def success(run: Run) -> tuple[float, float, str] | None:
    """Bare success (before, after, on which data): the test data, or else the first and last evaluation."""
    before, after = run.result.get("before"), run.result.get("after")
    if before and after and "test_bare_success" in after:
        return before["test_bare_success"], after["test_bare_success"], "test"
    logged = run.logged("eval_bare_success")
    return (logged[0][1], logged[-1][1], "evaluation") if len(logged) > 1 else None


def failed(summary: Mapping[str, Any]) -> float:
    return float(summary["all_failed"] / max(1, summary["groups"]))


def prompt_share(cost: Mapping[str, Any]) -> float:
    """The share of evolution and reflection in the training cost."""
    return float((cost["evolve"]["cost"] + cost["reflect"]["cost"]) / max(1, cost["training_cost"]))
