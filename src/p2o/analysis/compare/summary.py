"""From runs to figures: means with intervals, paired differences, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..statistics import Estimate, mean_success, paired_difference, pass_at_k
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
    """The starting policy's, mean over the seeds; None: not measured."""
    groups: dict[str, Estimate]
    """By value of ``eval_group_column``."""
    ood: dict[str, Estimate]
    difference: Estimate | None
    """Minus the reference arm, paired by seed and sample."""
    changes: dict[str, Estimate]
    """Success after minus before training, paired by seed and sample: of the headline (key ""), of each other group
    and of each part out of the distribution; where the runs kept the outcomes before."""
    cost: float
    """Mean over the seeds, as are the following."""
    rollouts: float
    teacher_tokens: float
    seconds: float
    given: str = "nothing"
    """What the arm was given beside the rewards."""
    pass_at: dict[int, Estimate] = field(default_factory=dict)
    """k → chance that one of k sampled completions is right; for the draws of the runs, and empty without any."""
    phases: dict[str, float] = field(default_factory=dict)
    """Phase → its cost, mean over the seeds."""
    reliance: float | None = None
    """Hint reliance, mean over the seeds that measured it (`RunResult.reliance`)."""
    unmeasured_replies: float = 0.0
    """Replies of a reflector without a count of their tokens, missing in ``teacher_tokens``."""
    runs: list[dict[str, Any]] = field(default_factory=list)


def summarize(
    arms: Sequence[Arm],
    results: Mapping[str, Sequence[RunResult]],
    groups: Mapping[str, str],
    group: str | None,
    given: Mapping[str, str] | None = None,
) -> list[ArmSummary]:
    """One summary for each arm with results, in the arms' order.

    Args:
        groups: test sample id → value of the group column; empty without one.
        group: the headline is of this group alone.
        given: arm → what it was given beside the rewards (`p2o.analysis.compare.arms.given_to`).
    """
    test = {name: _outcomes(rows, "test", groups, group) for name, rows in results.items()}
    shown = [arm for arm in arms if test.get(arm.name)]
    reference = reference_of([arm.name for arm in shown])
    counted = {arm.name: [row for row in results[arm.name] if row.seed in test[arm.name]] for arm in shown}
    summaries = [_summary(arm, counted[arm.name], test, reference, groups, group) for arm in shown]
    for summary in summaries:
        summary.given = (given or {}).get(summary.name, summary.given)
    return summaries


def ranks(intervals: Sequence[tuple[float, float]]) -> list[str]:
    """The rank of each arm by the intervals of its success: a number where no other interval overlaps with it, else
    the ranks that it may have ("2–4")."""
    found = []
    for low, high in intervals:
        first = 1 + sum(other_low > high for other_low, _ in intervals)
        last = len(intervals) - sum(other_high < low for _, other_high in intervals)
        found.append(str(first) if first == last else f"{first}–{last}")
    return found


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
    relying = [row.reliance for row in rows if row.reliance is not None]
    compared = reference is not None and arm.name != reference
    by_group = {g: _outcomes(rows, "test", groups, g) for g in others}
    by_part = {part.removeprefix("ood_"): _outcomes(rows, part) for part in parts}
    changes = {
        "": paired_difference(test[arm.name], _outcomes(rows, "test", groups, group, before=True)),
        **{g: paired_difference(by_group[g], _outcomes(rows, "test", groups, g, before=True)) for g in others},
        **{n: paired_difference(by_part[n], _outcomes(rows, f"ood_{n}", before=True)) for n in by_part},
    }
    return ArmSummary(
        name=arm.name,
        what=arm.what,
        settings=dict(arm.settings),
        success=mean_success(test[arm.name]),
        before=_mean(before) if before else None,
        groups={g: mean_success(outcomes) for g, outcomes in by_group.items() if outcomes},
        ood={n: mean_success(outcomes) for n, outcomes in by_part.items() if outcomes},
        difference=paired_difference(test[arm.name], test[reference]) if compared and reference else None,
        changes={name: change for name, change in changes.items() if change is not None},
        cost=_mean([row.cost for row in rows]),
        rollouts=_mean([row.rollouts for row in rows]),
        teacher_tokens=_mean([row.teacher_tokens for row in rows]),
        seconds=_mean([row.seconds for row in rows]),
        pass_at=_pass_at(rows, groups, group),
        phases={
            name: _mean([row.phases.get(name, 0) for row in rows])
            for name in dict.fromkeys(name for row in rows for name in row.phases)
        },
        reliance=_mean(relying) if relying else None,
        unmeasured_replies=_mean([row.unmeasured_replies for row in rows]),
        runs=[_run(row, test[arm.name][row.seed]) for row in rows],
    )


def _outcomes(
    rows: Sequence[RunResult],
    part: str,
    groups: Mapping[str, str] | None = None,
    group: str | None = None,
    before: bool = False,
) -> dict[int, Mapping[str, float]]:
    """Seed → outcomes of a part, or of one group in it; of the runs that have them."""
    found = {row.seed: (row.outcomes_before if before else row.outcomes).get(part, {}) for row in rows}
    chosen = {
        seed: {i: float(s) for i, s in outcomes.items() if group is None or (groups or {}).get(i) == group}
        for seed, outcomes in found.items()
    }
    return {seed: outcomes for seed, outcomes in chosen.items() if outcomes}


def _pass_at(rows: Sequence[RunResult], groups: Mapping[str, str], group: str | None) -> dict[int, Estimate]:
    draws = {row.draws for row in rows if row.solved.get("test")}
    if len(draws) != 1:
        return {}
    (k,) = draws
    chances = {
        row.seed: {
            i: pass_at_k(k, solved, k)
            for i, solved in row.solved["test"].items()
            if group is None or groups.get(i) == group
        }
        for row in rows
        if row.solved.get("test")
    }
    return {k: mean_success(chances)} if all(chances.values()) else {}


def _run(row: RunResult, outcomes: Mapping[str, float]) -> dict[str, Any]:
    content = asdict(row) | {"success": _mean(list(outcomes.values()))}
    content["solved"] = {
        part: ",".join(str(by_id[i]) for i in sorted(by_id)) for part, by_id in content["solved"].items()
    }
    for name in ("outcomes", "outcomes_before"):  # compact: a digit per sample, in the order of their ids
        content[name] = {
            part: "".join(str(int(by_id[i])) for i in sorted(by_id)) for part, by_id in content[name].items()
        }
    return content


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
