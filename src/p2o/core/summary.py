"""The figures of one epoch. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .hard import Tally
from .states import state_of


@dataclass
class EpochSummary:
    """The figures of one epoch's rollouts, and what the method did after it. Counts are of samples. JSON-able."""

    epoch: int
    """Number of the epoch, from 0."""
    groups: int = 0
    all_failed: int = 0
    """No rollout was solved."""
    all_solved: int = 0
    """Every rollout was solved."""
    no_spread: int = 0
    """All rewards are equal, so all advantages are 0. With partial credit an all-failed group may have a spread."""
    bare_success: float | None = None
    """Share of the bare rollouts that were solved; None without bare rollouts."""
    templated_success: float | None = None
    paired_bare_success: float | None = None
    """Of the samples that were rolled out both ways (bare slots): success of their bare rollouts."""
    paired_templated_success: float | None = None
    """Of the same samples: success of their templated rollouts."""
    hard: int = 0
    """Samples that need new templates in the next epoch."""
    kept: int = 0
    """Samples that keep their templates (not under the rule ``solved``)."""
    returned: int = 0
    """Samples that lost their templates in an earlier epoch and have some again in the next one."""
    rescued: int = 0
    """Samples that had a template and were solved under it."""
    graduated: int = 0
    """Samples solved bare after having needed a template, at any time."""
    forgotten: int = 0
    """Samples on which every bare rollout failed, mastered in an earlier epoch."""
    templated_next: int = 0
    """Samples with templates in the next epoch."""
    evolved: bool = False
    """Whether the pool of the next epoch is new."""
    begun: bool = False
    """Whether an evolution runs beside the next epoch."""
    candidates: int = 0
    """All templates of the evolution: seeds and proposals, refused ones too."""
    accepted: int = 0
    helping: int = 0
    """Templates that solved at least one dev sample."""
    iterations: int = 0
    pool: int = 0
    best_template: str = ""
    best_dev_score: float | None = None
    covered: int | None = None
    """Dev samples that the pool solves; None without a pool that was scored."""
    dev_size: int = 0
    evolve_cost: dict[str, Any] = field(default_factory=dict)
    """What the evolution spent (see `p2o.core.evolve.EvolveCost`); empty without one."""
    notes: list[str] = field(default_factory=list)


def summarize(tallies: Mapping[str, Tally], epoch: int, mastered: Collection[str] = ()) -> EpochSummary:
    """Counts of one epoch.

    Args:
        tallies: sample id → its rollouts, and how many were solved.
        epoch: its number, from 0.
        mastered: samples that were mastered in an earlier epoch.
    """
    rows = list(tallies.values())
    both = [t for t in rows if t.bare and t.templated]
    return EpochSummary(
        epoch=epoch,
        groups=len(rows),
        all_failed=sum(t.successes == 0 for t in rows),
        all_solved=sum(t.successes == t.rollouts for t in rows),
        no_spread=sum(not t.spread for t in rows),
        bare_success=_bare_success(rows),
        templated_success=_templated_success(rows),
        paired_bare_success=_bare_success(both),
        paired_templated_success=_templated_success(both),
        rescued=sum(t.templated_solved > 0 for t in rows),
        forgotten=sum(state_of(t, False, i in mastered) == "forgotten" for i, t in tallies.items()),
    )


def _bare_success(tallies: Iterable[Tally]) -> float | None:
    return _ratio([(t.bare_solved, t.bare) for t in tallies])


def _templated_success(tallies: Iterable[Tally]) -> float | None:
    return _ratio([(t.templated_solved, t.templated) for t in tallies])


def _ratio(counts: list[tuple[int, int]]) -> float | None:
    """Solved over drawn; None when nothing was drawn."""
    drawn = sum(total for _, total in counts)
    return sum(solved for solved, _ in counts) / drawn if drawn else None
