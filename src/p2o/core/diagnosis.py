"""Why the policy learned almost nothing in an epoch."""

from __future__ import annotations

from .summary import EpochSummary

FLAT_SHARE = 0.7
"""When at least this share of the groups has no spread, there is almost nothing to learn from."""


def spread_line(summary: EpochSummary) -> str:
    """How many groups have no spread of rewards, how many all failed, and how many were all solved."""
    return (
        f"{summary.no_spread} of {summary.groups} groups have no spread of rewards "
        f"({summary.all_failed} all failed, {summary.all_solved} all solved)"
    )


def flat_reason(summary: EpochSummary) -> str | None:
    """One line that says why almost nothing is learned; None when enough groups have a spread of rewards.

    None too when templates were assigned: the next epoch shows whether they help.
    """
    if summary.no_spread < FLAT_SHARE * summary.groups or summary.templated_next:
        return None
    line = spread_line(summary)
    if summary.all_solved >= summary.all_failed:
        return f"{line}: there is little left to learn here"
    if summary.evolved:
        where = f"p2o/evolution-{summary.epoch + 1:03d}/evolution.json"
        return f"{line}; {summary.helping} templates helped: see {where}"
    reason = next((n for n in summary.notes if "no evolution" in n), "no templates were evolved after this epoch")
    return f"{line}; {reason}"
