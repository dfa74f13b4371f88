"""What became of each sample in each epoch: dead → rescued → graduated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .read import Epoch

STATES: dict[str, tuple[str, str]] = {
    "dead": ("dead", "every rollout failed, without a template"),
    "tried": ("not rescued", "every rollout failed, under templates too"),
    "rescued": ("rescued", "solved under a template, not bare"),
    "graduated": ("graduated", "solved bare, after having needed a template"),
    "mixed": ("mixed", "some bare rollouts solved; never needed a template"),
    "solved": ("solved", "all bare rollouts solved; never needed a template"),
}
"""State → (label, meaning), from bad to good."""

ABSENT = ""


def state(tally: Mapping[str, int] | None, needed: bool) -> str:
    """The state of a sample in an epoch; "" when it was not drawn.

    Args:
        needed: it has, or had, templates.
    """
    if tally is None:
        return ABSENT
    if tally["bare_solved"] and needed:
        return "graduated"
    if tally["bare_solved"]:
        return "solved" if tally["bare_solved"] == tally["bare"] else "mixed"
    if tally["templated"]:
        return "rescued" if tally["templated_solved"] else "tried"
    return "dead"


def matrix(epochs: Sequence[Epoch]) -> dict[str, list[str]]:
    """Sample id → its state in each epoch."""
    needed: set[str] = set()
    rows: dict[str, list[str]] = {i: [] for i in sorted({i for e in epochs for i in e.tallies})}
    for epoch in epochs:
        needed |= {i for i, tally in epoch.tallies.items() if tally["templated"]}
        for i, row in rows.items():
            row.append(state(epoch.tallies.get(i), i in needed))
    return rows


def counts(rows: Mapping[str, Sequence[str]], epochs: int) -> dict[str, list[int]]:
    """State → how many samples are in it, by epoch."""
    return {s: [sum(row[e] == s for row in rows.values()) for e in range(epochs)] for s in STATES}


def ever_hard(rows: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The samples that were dead, or had a template, in some epoch."""
    return {i: row for i, row in rows.items() if set(row) & {"dead", "tried", "rescued", "graduated"}}


def by_story(rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Ids in an order that puts like stories together: by the last state (best first), then the one before …"""
    rank = {s: n for n, s in enumerate(STATES)} | {ABSENT: -1}
    return sorted(rows, key=lambda i: ([-rank[s] for s in reversed(rows[i])], i))
