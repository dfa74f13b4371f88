"""Mining: what each group earned, and which samples are hard (P²O, section "mining").

A sample is *hard* when at most τ−1 of its K rollouts were solved in the last epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .states import has_spread
from .stored import field_rows, from_field_rows

ROUNDING = 1e-6


def is_solved(reward: float | None, threshold: float) -> bool:
    """Whether a reward reaches the success threshold. A reward that is too small only by the rounding to 32 bits
    reaches it; None and NaN (not scorable) do not."""
    return reward is not None and reward >= threshold - ROUNDING


@dataclass(slots=True)
class Tally:
    """Rollouts of one sample within one epoch, and how many of them were solved."""

    bare: int = 0
    bare_solved: int = 0
    templated: int = 0
    templated_solved: int = 0
    spread: bool = False
    """Whether the rewards that GRPO trains on differ within the group. Without a spread all advantages are 0."""

    @property
    def rollouts(self) -> int:
        """All rollouts, bare and templated."""
        return self.bare + self.templated

    @property
    def successes(self) -> int:
        """All solved rollouts, bare and templated."""
        return self.bare_solved + self.templated_solved

    def add(self, solved: bool, templated: bool) -> None:
        """Counts one rollout."""
        if templated:
            self.templated += 1
            self.templated_solved += solved
        else:
            self.bare += 1
            self.bare_solved += solved


class HardLedger:
    """Successes per sample of the running epoch.

    Args:
        success_threshold: a rollout is solved when its reward is at least this.
    """

    def __init__(self, success_threshold: float = 1.0) -> None:
        self.success_threshold = success_threshold
        self.tallies: dict[str, Tally] = {}

    def record(
        self,
        sample_id: str,
        rewards: Sequence[float],
        templated: Sequence[bool] | None = None,
        totals: Sequence[float] | None = None,
    ) -> None:
        """Adds one group.

        Args:
            sample_id: the sample of the group.
            rewards: (K,) the rewards that say what *solved* means; NaN (not scorable) counts as not solved.
            templated: (K,) which rollouts were drawn under a template; none by default.
            totals: (K,) the rewards that GRPO trains on (the weighted sum); ``rewards`` by default.
        """
        if templated is None:
            templated = [False] * len(rewards)
        tally = self.tallies.setdefault(sample_id, Tally())
        for reward, under_template in zip(rewards, templated, strict=True):
            tally.add(is_solved(reward, self.success_threshold), bool(under_template))
        tally.spread |= has_spread(rewards if totals is None else totals)

    def hard_ids(self, max_successes: int) -> list[str]:
        """Sorted ids of the samples with at most ``max_successes`` (τ−1) solved rollouts."""
        return sorted(i for i, tally in self.tallies.items() if tally.successes <= max_successes)

    def clear(self) -> None:
        """Begins a new epoch."""
        self.tallies = {}

    def state_dict(self) -> dict[str, Any]:
        """Threshold and tallies; JSON-able."""
        return {"success_threshold": self.success_threshold, "tallies": field_rows(self.tallies)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.success_threshold = float(state["success_threshold"])
        self.tallies = from_field_rows(Tally, state["tallies"])


def dev_part_size(hard: int, dev_size: int) -> int:
    """How many of ``hard`` samples go into the dev part: ``dev_size``, but never more than half of them (P²O's
    reference code)."""
    return min(dev_size, hard // 2)


def split_hard(ids: Sequence[str], dev_size: int) -> tuple[list[str], list[str]]:
    """(train part, dev part) of shuffled hard ids, see `dev_part_size`."""
    size = dev_part_size(len(ids), dev_size)
    return list(ids[size:]), list(ids[:size])
