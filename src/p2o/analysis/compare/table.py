"""The table of a comparison, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ...base.terminal import percent
from ..statistics import Estimate
from .summary import ArmSummary, ranks

Rows = list[list[str]]


def rows_of(arms: Sequence[ArmSummary], reference: str | None, group: str | None) -> Rows:
    """The header, then a row for each arm. Other groups and OOD parts show the change in training, in points, and so
    does hint reliance."""
    groups = list(dict.fromkeys(g for a in arms for g in a.groups))
    parts = list(dict.fromkeys(p for a in arms for p in a.ood))
    teacher = any(a.teacher_tokens or a.unmeasured_replies for a in arms)
    draws = sorted({k for a in arms for k in a.pass_at})
    relies = any(a.reliance is not None for a in arms)
    header = [
        "arm",
        "seeds",
        "given",
        "rank",
        "before",
        f"bare success{f', {group}' if group else ''} (95 %)",
        "worst–best seed",
    ]
    header += [f"minus {reference} (95 %)"] if reference else []
    header += [f"pass@{k} (95 %)" for k in draws]
    header += [*groups, *(f"OOD: {p}" for p in parts)]
    header += ["hint reliance"] if relies else []
    header += ["cost (M tokens)", "cost by phase", "rollouts", "seconds"]
    header += ["teacher tokens"] if teacher else []
    rows = [header]
    for a, rank in zip(arms, ranks([a.success.interval for a in arms]), strict=True):
        row = [a.name, str(a.success.seeds), a.given, rank, percent(a.before), _estimate(a.success), _range(a)]
        row += [_difference(a.difference)] if reference else []
        row += [_estimate(a.pass_at[k]) if k in a.pass_at else "–" for k in draws]
        row += [_changed(a.groups.get(g), a.changes.get(g)) for g in groups]
        row += [_changed(a.ood.get(p), a.changes.get(p)) for p in parts]
        row += [_points(a.reliance)] if relies else []
        row += [f"{a.cost / 1e6:.2f}", _phases(a), f"{a.rollouts:,.0f}", f"{a.seconds:,.0f}"]
        rows.append(row + ([_teacher(a)] if teacher else []))
    return rows


def _phases(arm: ArmSummary) -> str:
    """Shares of the cost in per cent, the largest first."""
    total = sum(arm.phases.values())
    parts = sorted(arm.phases.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * cost / total:.0f} %" for name, cost in parts if cost >= 0.005 * total) or "–"


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.0f}"


def _teacher(arm: ArmSummary) -> str:
    if arm.unmeasured_replies:
        return f"at least {arm.teacher_tokens:,.0f}" if arm.teacher_tokens else "not measured"
    return f"{arm.teacher_tokens:,.0f}"


def terminal_table(arms: Sequence[ArmSummary], reference: str | None, title: str) -> Table:
    """The columns that fit into 80 characters."""
    table = Table(title=title, title_justify="left")
    for column in ("arm", "seeds", "success [95 %]", f"minus {reference or '–'}", "M tokens"):
        table.add_column(column)
    for a in arms:
        success = f"{100 * a.success.mean:.1f} [{100 * a.success.interval[0]:.1f}, {100 * a.success.interval[1]:.1f}]"
        table.add_row(a.name, str(a.success.seeds), success, _difference(a.difference), f"{a.cost / 1e6:.2f}")
    return table


def notes_of(arms: Sequence[ArmSummary], group: str | None) -> list[str]:
    """What a reader must know beside the table: every loss in training, and prompts that are not counted."""
    notes = []
    for a in arms:
        for name, change in a.changes.items():
            if change.mean < 0:
                chance = ", which may be chance" if change.interval[1] >= 0 else ""
                notes.append(
                    f"{a.name} lost on {name or group or 'the test data'}: {_difference(change)} points{chance}"
                )
    shares = {part: share for a in arms for run in a.runs for part, share in run["no_room"].items()}
    notes += [
        f"{percent(share)} of the {part.replace('_', ' ')} prompts leave no room for a completion; they are not counted"
        for part, share in shares.items()
    ]
    return notes


def _changed(after: Estimate | None, change: Estimate | None) -> str:
    if after is None:
        return "–"
    return percent(after.mean) + (f" ({100 * change.mean:+.1f})" if change else "")


def _estimate(e: Estimate) -> str:
    return f"{percent(e.mean)} [{100 * e.interval[0]:.1f}, {100 * e.interval[1]:.1f}]"


def _range(a: ArmSummary) -> str:
    seeds = [run["success"] for run in a.runs]
    return f"{100 * min(seeds):.1f}–{100 * max(seeds):.1f}"


def _difference(e: Estimate | None) -> str:
    if e is None:
        return "–"
    return f"{100 * e.mean:+.1f} [{100 * e.interval[0]:+.1f}, {100 * e.interval[1]:+.1f}]"
