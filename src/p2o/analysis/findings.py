"""What is wrong with a run in a directory, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from ..core.diagnosis import Finding, RunBy, diagnose
from ..core.facts import Facts, facts_after
from ..core.summary import EpochSummary
from ..runs.run_directory import Run
from .screen.measure import Screen
from .screen.verdict import larger_budget


def run_findings(run: Run) -> list[Finding]:
    """The findings after the last epoch of a run; empty before the first one has ended."""
    if not run.epochs:
        return []
    known = EpochSummary.__dataclass_fields__
    summaries = [EpochSummary(**{k: v for k, v in e.summary.items() if k in known}) for e in run.epochs]
    last = run.epochs[-1]
    cut = run.logged("completions/clipped_ratio")
    clipped = [share for epoch, share in cut if last.number < epoch <= last.number + 1]
    return diagnose(
        facts_after(
            summaries,
            run.settings,
            masked=masked_share(last.record, run.settings),
            clipped=fmean(clipped) if clipped else None,
        )
    )


def screen_findings(screen: Screen, settings: Mapping[str, Any]) -> list[Finding]:
    """The findings of a screen. Its groups are the samples that it drew, all of them bare."""
    asked = int(screen.evolution.get("candidates", 0))
    fates = screen.evolution.get("fates", {})
    useless = {name: count for name, count in fates.items() if name not in USEFUL}
    named = {name: f"{count}× {name.replace('_', ' ')}" for name, count in useless.items()}
    if errors := screen.evolution.get("reflector_errors"):
        named["no_reply"] = errors
    return diagnose(
        Facts(
            groups=screen.samples,
            all_failed=screen.outcomes["all_failed"].count,
            all_solved=screen.outcomes["all_solved"].count,
            no_spread=screen.no_spread.count,
            hard=round(screen.hard.share * screen.total),
            templated_next=screen.hard.count if screen.pool else 0,
            evolved=bool(screen.evolution),
            helping=len(screen.pool),
            candidates=asked,
            iterations=max(0, len(screen.evolution.get("best_dev_scores", [])) - 1),
            reflector_calls=asked - fates.get("seed", 0),
            reflector_failed=sum(useless.values()),
            reflector_reasons=", ".join(named.values()),
            settings=settings,
            screened=True,
            larger_screen=None if screen.pool or not screen.evolution else larger_budget(screen.evolution),
        )
    )


USEFUL = ("seed", "accepted", "rejected", "duplicate")
"""Fates of candidates whose text could be used."""


def run_by(run: Run) -> RunBy:
    """What makes the run again."""
    if run.of_verl:
        return "verl"
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
