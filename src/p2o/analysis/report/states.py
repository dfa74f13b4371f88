"""The state of each sample in each epoch, in the words of `p2o.core.states`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...core.states import STATES, SampleHistory, SampleState
from ...runs.run_directory import Epoch

ABSENT = ""
"""In an epoch in which the sample was not drawn."""

NEVER_IN_NEED = {"mixed", "mastered"}


def matrix(epochs: Sequence[Epoch]) -> dict[str, list[str]]:
    """Sample id → its state in each epoch."""
    history = SampleHistory()
    rows: dict[str, list[str]] = {i: [] for i in sorted({i for e in epochs for i in e.tallies})}
    for epoch in epochs:
        states = history.add_epoch(epoch.tallies)
        for i, row in rows.items():
            row.append(states.get(i, ABSENT))
    return rows


def counts(rows: Mapping[str, Sequence[str]], epochs: int) -> dict[SampleState, list[int]]:
    """State → how many samples are in it, by epoch."""
    return {s: [sum(row[e] == s for row in rows.values()) for e in range(epochs)] for s in STATES}


def in_need(rows: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The samples of which every rollout failed in some epoch, or that had a template."""
    return {i: row for i, row in rows.items() if set(row) - NEVER_IN_NEED - {ABSENT}}


def by_story(rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Ids sorted by the last state (best first), then by the one before it, and so on: like stories come together."""
    rank: dict[str, int] = {ABSENT: -1, **{s: n for n, s in enumerate(STATES)}}
    return sorted(rows, key=lambda i: ([-rank[s] for s in reversed(rows[i])], i))
