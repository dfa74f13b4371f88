"""The headline of a run: its figures, and what they say in one paragraph. A loss is said as loudly as a gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.terminal import percent
from ...base.text import counted
from ...core.progress import short
from ...core.states import NO_SPREAD
from ...runs.run_directory import Run
from ..changes import KEY, Change, changes_of


@dataclass(frozen=True)
class Figure:
    """One figure of the headline."""

    label: str
    value: str
    note: str = ""
    tone: str = ""
    """``good`` or ``bad``; "" for neither, or for what may be chance."""


def headline(run: Run, rows: Mapping[str, Sequence[str]]) -> list[Figure]:
    """The figures that a reader looks at first.

    Args:
        rows: sample id → its state in each epoch (`states.matrix`).
    """
    changes = run_changes(run)
    figures = [_change_figure(change) for change in [*changes[:1], *losses(changes[1:])]]
    if run.epochs:
        counts = sample_counts(run, rows)
        first, last = run.epochs[0].summary, run.epochs[-1].summary
        figures += [
            Figure("needed a template", str(counts["needed"]), f"of {len(rows)} samples"),
            Figure("rescued", str(counts["rescued"]), "solved under a template at least once"),
            Figure("graduated", str(counts["graduated"]), "then solved bare", "good" if counts["graduated"] else ""),
            Figure(
                "forgotten",
                str(counts["forgotten"]),
                "mastered, later failed in all bare rollouts",
                "bad" if counts["forgotten"] else "",
            ),
            Figure("all failed", *_share_of_groups("all_failed", first, last)),
        ]
        if last.get("no_spread") is not None:
            figures.append(Figure(f"{NO_SPREAD.label} of rewards", *_share_of_groups("no_spread", first, last)))
    if run.cost:
        figures.append(Figure("training cost", short(run.cost["training_cost"]), "forward-equivalent tokens"))
        figures.append(Figure("prompt step", percent(prompt_share(run.cost)), "of the cost: evolution, reflection"))
        seconds = sum(phase["seconds"] for phase in run.cost.values() if isinstance(phase, Mapping))
        rollouts = sum(p["rollouts"] for n, p in run.cost.items() if isinstance(p, Mapping) and n != "evaluate")
        figures.append(Figure("time", f"{seconds / 60:.1f} min", f"{rollouts:,} rollouts"))
    return figures


def story(run: Run, rows: Mapping[str, Sequence[str]]) -> str:
    """One paragraph in plain words."""
    counts, changes = sample_counts(run, rows), run_changes(run)
    failed = f"{counts['all_failed']} of the {len(rows)} samples failed in every rollout of at least one epoch."
    parts = [failed] if rows else []
    if counts["forgotten"]:
        was = f"{counted(counts['forgotten'], 'sample')} {'was' if counts['forgotten'] == 1 else 'were'}"
        parts.append(f"{was} forgotten: mastered in one epoch, failed in every bare rollout of a later one.")
    if counts["needed"]:
        help_given = "Evolved templates were given" if run.evolutions else "Help in front of the prompt was given"
        parts.append(
            f"{help_given} to {counted(counts['needed'], 'sample')}; {counts['rescued']} of them were rescued (solved "
            f"under it), and {counts['graduated']} graduated (solved bare afterwards)."
        )
    told = [*changes[:1], *losses(changes[1:])]
    parts += [f"Bare success on the {change.data} {change.sentence}." for change in told]
    if run.cost and run.evolutions:
        parts.append(f"The prompt step took {percent(prompt_share(run.cost))} of the training cost.")
    return " ".join(parts)


def run_changes(run: Run) -> list[Change]:
    """Bare success before and after: on the held-out parts of a finished run, or else at the first and the last
    evaluation during training. The first one is of the whole test or evaluation data."""
    finished = changes_of(run.result)
    if finished:
        return sorted(finished, key=lambda change: change.part != "test" or change.group != "")
    changes = []
    for key in sorted({key for row in run.log for key in row if key.startswith(f"eval{KEY}")}):
        logged = run.logged(key)
        if len(logged) > 1:
            group = key.removeprefix(f"eval{KEY}").removeprefix("_")
            changes.append(Change("evaluation", group, logged[0][1], logged[-1][1]))
    return changes


def losses(changes: Sequence[Change]) -> list[Change]:
    """The changes for the worse."""
    return [change for change in changes if change.direction == "fell"]


def _change_figure(change: Change) -> Figure:
    tone = {"rose": "good", "fell": "bad", "stayed": ""}[change.direction] if change.sure is not False else ""
    note = f"{percent(change.before)} before: {change.points}"
    if change.sure is False and change.direction != "stayed":
        note += ", which may be chance"
    if change.gained is not None:
        note += f"; {change.gained} of {change.samples} samples gained, {change.lost} lost"
    return Figure(f"bare success ({change.label})", percent(change.after), note, tone)


def sample_counts(run: Run, rows: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many samples all failed, had a template, were rescued, graduated or forgotten in some epoch."""
    tallies = [(i, tally) for epoch in run.epochs for i, tally in epoch.tallies.items()]
    return {
        "all_failed": len({i for i, tally in tallies if not tally.successes}),
        "needed": len({i for i, tally in tallies if tally.templated}),
        "rescued": len({i for i, tally in tallies if tally.templated_solved}),
        "graduated": sum("graduated" in row for row in rows.values()),
        "forgotten": sum("forgotten" in row for row in rows.values()),
    }


def _share_of_groups(key: str, first: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[str, str]:
    """(value in the last epoch, note with the value in the first one)."""

    def share(summary: Mapping[str, Any]) -> float | None:
        count, groups = summary.get(key), summary["groups"]
        return count / groups if groups and count is not None else None

    return percent(share(last)), f"of the groups in the last epoch; {percent(share(first))} in the first"


def prompt_share(cost: Mapping[str, Any]) -> float | None:
    """The share of evolution and reflection in the training cost; None when nothing was spent."""
    spent = cost["evolve"]["cost"] + cost["reflect"]["cost"]
    return float(spent / cost["training_cost"]) if cost["training_cost"] else None
