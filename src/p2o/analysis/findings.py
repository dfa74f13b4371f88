"""What is wrong with a run in a directory, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ..core.diagnosis import Finding, diagnose, facts_after
from ..core.hard import read_tallies
from ..core.states import SampleHistory
from ..core.summary import EpochSummary
from ..runs.run_directory import Run


def run_findings(run: Run) -> list[Finding]:
    """The findings after the last epoch of a run; empty before the first one has ended."""
    if not run.epochs:
        return []
    known = EpochSummary.__dataclass_fields__
    summaries = [EpochSummary(**{k: v for k, v in e.summary.items() if k in known}) for e in run.epochs]
    history = SampleHistory()
    states = [history.add_epoch(read_tallies(epoch.tallies)) for epoch in run.epochs]
    last = run.epochs[-1]
    cut = run.logged("completions/clipped_ratio")
    clipped = [share for epoch, share in cut if last.number < epoch <= last.number + 1]
    return diagnose(
        facts_after(
            summaries,
            run.settings,
            forgotten=sum(state == "forgotten" for state in states[-1].values()),
            masked=masked_share(last.record, run.settings),
            clipped=fmean(clipped) if clipped else None,
        )
    )


def recipe_of(run: Run) -> Sequence[str] | None:
    """The words behind ``p2o train`` that make the run again; None: it was made from Python."""
    return [str(run.path / "config.yaml")] if run.config else None


def masked_share(record: Mapping[str, Any], settings: Mapping[str, Any]) -> float | None:
    """The share of an epoch's templated tokens whose ratio is outside the mask's bounds; None without such tokens.

    It is counted in bins: a bound inside a bin counts the whole bin as kept.

    Args:
        record: the epoch's file of rollouts (`p2o.core.rollout_log.RolloutLog`).
        settings: of the run.
    """
    counts = ratio_counts(record)
    if not sum(counts):
        return None
    low, high = (math.log10(float(settings.get(key, default))) for key, default in BOUNDS.items())
    edges = [-math.inf, *record["ratio_log10_edges"], math.inf]
    kept = sum(n for n, left, right in zip(counts, edges, edges[1:], strict=False) if right > low and left < high)
    return 1 - kept / sum(counts)


BOUNDS = {"ratio_low": 0.01, "ratio_high": 10.0}
"""The keys of the mask's bounds, and their defaults."""


def ratio_counts(record: Mapping[str, Any]) -> list[int]:
    """How many templated tokens of an epoch are in each bin of their ratio; empty without any."""
    return [sum(column) for column in zip(*record.get("ratio_counts", {}).values(), strict=True)]
