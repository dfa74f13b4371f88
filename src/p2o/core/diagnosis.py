"""Why an epoch taught next to nothing."""

from __future__ import annotations

from .summary import EpochSummary

FLAT_SHARE = 0.7
"""With this share of groups without spread there is next to nothing to learn from."""


def flat_reason(summary: EpochSummary) -> str | None:
    """One line on why next to nothing is learned, when most groups are dead; else None.

    None too when templates were assigned: the next epoch shows whether they help.
    """
    failed, solved, groups = summary.all_failed, summary.all_solved, summary.groups
    if failed + solved < FLAT_SHARE * groups or summary.templated_next:
        return None
    if solved >= failed:
        return f"{solved} of {groups} groups are dead (all rollouts solved): there is little left to learn here"
    dead = f"{failed} of {groups} groups are dead (all rollouts failed)"
    if summary.evolved:
        where = f"p2o/evolution-{summary.epoch + 1:03d}/evolution.json"
        return f"{dead}; {summary.helping} templates helped: see {where}"
    reason = next((n for n in summary.notes if "no evolution" in n), "")
    return f"{dead}; {reason}" if reason else f"{dead} and no templates were evolved after this epoch"
