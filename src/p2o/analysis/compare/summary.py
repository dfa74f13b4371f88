"""From runs to figures: means with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..statistics import Estimate, mean_success, paired_difference
from .arms import Arm
from .results import RunResult

REFERENCES = ("grpo_equal", "grpo")


@dataclass
class ArmSummary:
    """One arm over its seeds. JSON-able through ``asdict``."""

    name: str
    what: str
    settings: dict[str, Any]
    success: Estimate
    """Held-out bare success: the headline."""
    before: float | None
    """The starting policy's, mean over the seeds."""
    groups: dict[str, Estimate]
    """By value of ``eval_group_column``."""
    ood: dict[str, Estimate]
    difference: Estimate | None
    """Minus the reference arm, paired by seed and sample."""
    cost: float
    """Mean over the seeds, as are the following."""
    rollouts: float
    teacher_tokens: float
    seconds: float
    runs: list[dict[str, Any]] = field(default_factory=list)


def summarize(
    arms: Sequence[Arm],
    results: Mapping[str, Sequence[RunResult]],
    groups: Mapping[str, str],
    group: str | None,
) -> list[ArmSummary]:
    """One summary for each arm with results, in the arms' order.

    Args:
        groups: test sample id → value of the group column; empty without one.
        group: the headline is of this group alone.
    """
    shown = [arm for arm in arms if results.get(arm.name)]
    reference = reference_of([arm.name for arm in shown])
    test = {name: _outcomes(rows, "test", groups, group) for name, rows in results.items()}
    return [_summary(arm, results[arm.name], test, reference, groups, group) for arm in shown]


def reference_of(names: Sequence[str]) -> str | None:
    """The arm that the others are compared with."""
    return next((name for name in REFERENCES if name in names), None)


def _summary(
    arm: Arm,
    rows: Sequence[RunResult],
    test: Mapping[str, Mapping[int, Mapping[str, float]]],
    reference: str | None,
    groups: Mapping[str, str],
    group: str | None,
) -> ArmSummary:
    others = sorted(set(groups.values()) - {group})
    parts = sorted({part for row in rows for part in row.outcomes} - {"test"})
    key = "test_bare_success" + (f"_{group}" if group else "")
    before = [row.before[key] for row in rows if key in row.before]
    compared = reference is not None and arm.name != reference
    return ArmSummary(
        name=arm.name,
        what=arm.what,
        settings=dict(arm.settings),
        success=mean_success(test[arm.name]),
        before=sum(before) / len(before) if before else None,
        groups={g: mean_success(_outcomes(rows, "test", groups, g)) for g in others},
        ood={part.removeprefix("ood_"): mean_success(_outcomes(rows, part)) for part in parts},
        difference=paired_difference(test[arm.name], test[reference]) if compared and reference else None,
        cost=_mean([row.cost for row in rows]),
        rollouts=_mean([row.rollouts for row in rows]),
        teacher_tokens=_mean([row.teacher_tokens for row in rows]),
        seconds=_mean([row.seconds for row in rows]),
        runs=[_run(row, test[arm.name][row.seed]) for row in rows],
    )


def _outcomes(
    rows: Sequence[RunResult], part: str, groups: Mapping[str, str] | None = None, group: str | None = None
) -> dict[int, Mapping[str, float]]:
    """Seed → outcomes of a part, or of one group in it."""
    return {
        row.seed: {
            i: float(s) for i, s in row.outcomes[part].items() if group is None or (groups or {}).get(i) == group
        }
        for row in rows
    }


def _run(row: RunResult, outcomes: Mapping[str, float]) -> dict[str, Any]:
    content = asdict(row) | {"success": _mean(list(outcomes.values()))}
    # Compact: a digit per sample, in the order of their ids.
    content["outcomes"] = {
        part: "".join(str(int(by_id[i])) for i in sorted(by_id)) for part, by_id in row.outcomes.items()
    }
    return content


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
