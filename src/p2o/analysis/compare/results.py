"""What one run of a comparison came to, read from its directory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...base.files import read_json
from ...runs.run_directory import COMPLETE, Run, read_run

NO_ROOM = "_no_room"
"""Ends the metric of the share of prompts without room, ``test_no_room``."""

Curve = list[tuple[float, float, float]]
"""(cost, rollouts, success) at each evaluation on the way."""


@dataclass
class RunResult:
    """One arm with one seed."""

    seed: int
    cost: int
    """Forward-equivalent tokens of everything but evaluation (see `p2o.core.cost`)."""
    teacher_tokens: int
    rollouts: int
    """Rollouts of everything but evaluation."""
    seconds: float
    outcomes: dict[str, dict[str, float]]
    """Part ("test", "ood_NAME") → sample id → success of the bare prompt (of the best template: ``prompt_only``)."""
    outcomes_before: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same of the starting policy; empty where the run kept none."""
    before: dict[str, float] = field(default_factory=dict)
    """Metrics of the starting policy on the same parts."""
    no_room: dict[str, float] = field(default_factory=dict)
    """Part → share of its prompts that leave no room for a completion, and are not counted; only parts with some."""
    curve: Curve = field(default_factory=list)
    phases: dict[str, int] = field(default_factory=dict)
    """Phase → its share of ``cost``, in forward-equivalent tokens; of the phases that cost something."""
    draws: int = 0
    """Completions of each held-out sample beside the greedy one (``test_draws``)."""
    solved: dict[str, dict[str, int]] = field(default_factory=dict)
    """Part → sample id → how many of them were solved."""
    reliance: float | None = None
    """Hint reliance: success under help minus bare success, of the samples that were rolled out both ways in the last
    epoch with help; None without such an epoch."""
    unmeasured_replies: int = 0
    """Replies of a reflector whose tokens were not reported: they are missing in ``teacher_tokens``."""


def result_file(folder: Path, trained: bool) -> Path:
    """The file that a finished run has."""
    return folder / "p2o" / (COMPLETE if trained else "prompt_only.json")


def trained_result(folder: Path, seed: int, group: str | None) -> RunResult:
    """The result of a ``p2o train`` run.

    Args:
        group: the curve is of this value of ``eval_group_column`` alone.
    """
    run = read_run(folder)
    before, after, outcomes_before, outcomes = (
        _of_verl(part) if run.of_verl else part
        for part in (run.result.get(name) or {} for name in ("before", "after", "outcomes_before", "outcomes"))
    )
    return RunResult(
        seed=seed,
        **_spent(run.result["cost"]),
        outcomes=outcomes,
        outcomes_before=outcomes_before,
        before=before,
        no_room={k.removesuffix(NO_ROOM): v for k, v in after.items() if k.endswith(NO_ROOM)},
        curve=_curve(run.log, "eval_bare_success" + (f"_{group}" if group else "")),
        draws=run.result.get("draws", 0),
        solved=run.result.get("solved", {}),
        reliance=_reliance(run),
    )


def _of_verl(part: Mapping[str, Any]) -> dict[str, Any]:
    """verl has one part of held-out data, its validation data, which is the test data of a comparison."""
    return {re.sub("^eval", "test", name): value for name, value in part.items()}


def _reliance(run: Run) -> float | None:
    for epoch in reversed(run.epochs):
        helped, bare = (epoch.summary.get(f"paired_{way}_success") for way in ("templated", "bare"))
        if helped is not None and bare is not None:
            return float(helped - bare)
    return None


def prompt_only_result(folder: Path, seed: int) -> RunResult:
    """The result of ``p2o evolve`` and ``p2o eval`` of a policy that was not trained."""
    outcomes = {}
    for part, file in read_json(result_file(folder, trained=False))["parts"].items():
        figures = json.loads((folder / "p2o" / file).read_text(encoding="utf-8"))
        outcomes[part] = (figures.get("templated") or figures["bare"])["per_sample"]
    return RunResult(seed=seed, **_spent(read_run(folder).cost), outcomes=outcomes)


def _spent(cost: Mapping[str, Any]) -> dict[str, Any]:
    phases = [phase for phase in cost.values() if isinstance(phase, Mapping)]
    return {
        "cost": cost["training_cost"],
        "teacher_tokens": sum(phase["teacher_tokens"] for phase in phases),
        "unmeasured_replies": sum(phase.get("unmeasured_replies", 0) for phase in phases),
        "phases": {
            name: phase["cost"]
            for name, phase in cost.items()
            if isinstance(phase, Mapping) and name != "evaluate" and phase["cost"]
        },
        "rollouts": cost["training_rollouts"],
        "seconds": round(sum(phase["seconds"] for phase in phases), 1),
    }


def _curve(log: list[dict[str, Any]], key: str) -> Curve:
    """Points at the evaluations; none where the run logged no cost."""
    points: Curve = []
    if not any("p2o/cost" in row for row in log):
        return points
    cost = rollouts = 0.0  # before the first step nothing is spent
    for row in log:
        cost, rollouts = max(cost, row.get("p2o/cost", 0.0)), max(rollouts, row.get("p2o/cost/rollouts", 0.0))
        if key in row:
            points.append((cost, rollouts, row[key]))
    return points
