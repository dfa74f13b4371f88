"""What is known about a run after an epoch, or from a screen: the figures that `p2o.core.diagnosis` judges. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .evolve.result import EvolveCost
from .summary import EpochSummary
from .worth import gets_on_alone

FEW = 3
"""Fewer samples than this say nothing."""
HELPING_SHARE = 0.02
"""When a smaller share of the templated rollouts is solved, the templates do not help."""
RISING_SHARE = 0.05
"""When at least so many more of the rescued samples graduate in an epoch, or so many more of their bare rollouts are
solved, what the templates unlock reaches the bare prompt."""


@dataclass
class Facts(EpochSummary):
    """What is known about a run: the figures of its last epoch (those of an evolution are of the last one), or what a
    screen found. None: not measured."""

    epoch: int = 0
    reflector_calls: int = 0
    """Of the last evolution."""
    reflector_failed: int = 0
    reflector_reasons: str = ""
    """What the failed calls said."""
    rescued_before: bool = False
    """Whether samples were rescued in an earlier epoch too, so that they had time to graduate."""
    rising: bool = False
    """Whether the bare success of the samples with templates rises: more of them graduate, or more of their bare
    rollouts are solved than in the epoch before."""
    alone: bool = False
    """Whether no evolution is made as long as GRPO gets on without templates (`p2o.core.worth`)."""
    masked: float | None = None
    """Share of the templated tokens that the ratio mask drops."""
    clipped: float | None = None
    """Share of the completions that are cut at the limit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The run's settings by their keys."""
    screened: bool = False
    """Whether this is a screen already, so that another one tells nothing new."""
    larger_screen: int | None = None
    """The budget of a larger screen, which may find templates where this one found none."""

    @property
    def no_template_helps(self) -> bool:
        """Whether templates were tried, and next to nothing was solved under them."""
        if self.templated_success is not None:
            return self.templated_success < HELPING_SHARE
        return self.evolved and not self.helping

    @property
    def spread(self) -> str:
        """How many groups have no spread of rewards, and of which kind they are."""
        return (
            f"{self.no_spread} of {self.groups} groups have no spread of rewards "
            f"({self.all_failed} all failed, {self.all_solved} all solved)"
        )


def facts_after(
    summaries: Sequence[EpochSummary],
    settings: Mapping[str, Any],
    *,
    masked: float | None = None,
    clipped: float | None = None,
) -> Facts:
    """The facts about a run.

    Args:
        summaries: of its epochs, at least one, oldest first.
        settings: by their keys.
        masked, clipped: of the last epoch, see `Facts`.
    """
    last, before = summaries[-1], summaries[-2] if len(summaries) > 1 else None
    evolved = next((s for s in reversed(summaries) if s.evolved), last)  # no evolution follows the last epoch
    cost = EvolveCost(**evolved.evolve_cost)
    of_evolution = {name: getattr(evolved, name) for name in ("evolved", "helping", "candidates", "iterations")}
    return Facts(
        **vars(last) | of_evolution,
        reflector_calls=cost.reflector_calls,
        reflector_failed=sum(cost.reflector_failures.values()),
        reflector_reasons=cost.failures(),
        rescued_before=any(s.rescued >= FEW for s in summaries[:-1]),
        rising=before is not None and _rises(before, last),
        alone=settings.get("evolve_when") == "stuck" and _gets_on_alone(before, last),
        masked=masked,
        clipped=clipped,
        settings=settings,
    )


def _rises(before: EpochSummary, last: EpochSummary) -> bool:
    if last.graduated - before.graduated >= RISING_SHARE * max(1, last.rescued):
        return True
    was, is_now = before.paired_bare_success, last.paired_bare_success
    return was is not None and is_now is not None and is_now - was >= RISING_SHARE


def _gets_on_alone(before: EpochSummary | None, last: EpochSummary) -> bool:
    """The method's own rule, by the counts of the epochs."""
    if last.templated_success is not None:
        return False
    live = _live(before) if before is not None and before.templated_success is None else None
    return gets_on_alone(_live(last), live)


def _live(epoch: EpochSummary) -> float:
    unsolved = epoch.groups - epoch.all_solved
    return (unsolved - epoch.all_failed) / max(1, unsolved)
