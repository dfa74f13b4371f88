"""Held-out success before and after training, sample by sample: what was gained, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from ..base.terminal import percent
from .statistics import Interval, difference_interval, matched_interval, pass_at_k

KEY = "_bare_success"
"""Between the part and the group in a metric's name: ``test_bare_success_easy``."""

Direction = Literal["rose", "fell", "stayed"]


@dataclass(frozen=True)
class Change:
    """Bare success on one part of the held-out data, or on one group of a part, before and after training."""

    part: str
    """``test``, ``ood_NAME``; ``eval`` for the evaluations during training."""
    group: str
    """Value of the group column; "" for the whole part."""
    before: float
    after: float
    samples: int | None = None
    """None, like all that follows, where the run kept no outcomes of single samples."""
    gained: int | None = None
    """Samples that are solved after, and were not before."""
    lost: int | None = None
    """Samples that were solved before, and are not after."""
    interval: Interval | None = None
    """95 % interval of after minus before (`statistics.matched_interval`)."""
    measure: str = ""
    """What was measured: "" for one completion a sample, or ``mean@8``, ``pass@8``."""

    @property
    def key(self) -> str:
        """The metric's name, ``test_bare_success_easy``."""
        return self.part + KEY + (f"_{self.group}" if self.group else "")

    @property
    def label(self) -> str:
        """``test``, ``test, easy``, or ``test, easy, pass@8``."""
        return ", ".join(filter(None, (self.part.replace("_", " "), self.group, self.measure)))

    @property
    def data(self) -> str:
        """``test data``, or ``easy samples of the test data``."""
        data = f"{self.part.replace('_', ' ')} data"
        return f"{self.group} samples of the {data}" if self.group else data

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def direction(self) -> Direction:
        """In which direction the success went, by chance or not."""
        return "rose" if self.difference > 0 else "fell" if self.difference < 0 else "stayed"

    @property
    def sure(self) -> bool | None:
        """Whether the interval lies on one side of zero; None without an interval."""
        return None if self.interval is None else self.interval[0] > 0 or self.interval[1] < 0

    @property
    def points(self) -> str:
        """``-15.0 points [-27.1, -2.4]``."""
        text = f"{100 * self.difference:+.1f} points"
        if self.interval is None:
            return text
        low, high = self.interval
        return f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"

    @property
    def sentence(self) -> str:
        """``fell from 97.5 % to 82.5 % (-15.0 points [-27.1, -2.4])``."""
        if self.direction == "stayed":
            return f"stayed at {percent(self.after)}"
        chance = ", which may be chance" if self.sure is False else ""
        return f"{self.direction} from {percent(self.before)} to {percent(self.after)} ({self.points}{chance})"


def changes_of(result: Mapping[str, Any]) -> list[Change]:
    """The changes of a run: whole parts first, each followed by its groups.

    Args:
        result: content of the run's ``result.json``. A run without held-out data has none.
    """
    before, after = result.get("before") or {}, result.get("after") or {}
    changes = []
    for key in after:
        part, found, group = key.partition(KEY)
        if found and key in before:
            group = group.removeprefix("_")
            changes.append(Change(part, group, before[key], after[key], **_matched(result, part, group)))
    return changes


def draw_changes(result: Mapping[str, Any]) -> list[Change]:
    """The changes of mean@k and pass@k, for a run that drew several completions of each sample (``test_draws``)."""
    draws = int(result.get("draws") or 0)
    changes = []
    for part, after in result.get("solved", {}).items():
        before = result.get("solved_before", {}).get(part, {})
        groups = result.get("groups", {}).get(part, {})
        shared = sorted(before.keys() & after.keys())
        for group in ["", *sorted({groups[i] for i in shared if i in groups})]:
            ids = [i for i in shared if not group or groups.get(i) == group]
            changes += [_change_of_draws(part, group, before, after, ids, draws, k) for k in (1, draws) if ids]
    return sorted(changes, key=lambda change: change.measure)


def _change_of_draws(
    part: str, group: str, before: Mapping[str, int], after: Mapping[str, int], ids: Sequence[str], draws: int, k: int
) -> Change:
    """The change of pass@k; pass@1 is mean@k of all draws."""
    old, new = ([pass_at_k(draws, solved[i], k) for i in ids] for solved in (before, after))
    return Change(
        part,
        group,
        fmean(old),
        fmean(new),
        samples=len(ids),
        interval=difference_interval([b - a for a, b in zip(old, new, strict=True)]),
        measure=f"pass@{k}" if k > 1 else f"mean@{draws}",
    )


def _matched(result: Mapping[str, Any], part: str, group: str) -> dict[str, Any]:
    before = result.get("outcomes_before", {}).get(part)
    after = result.get("outcomes", {}).get(part)
    if before is None or after is None:
        return {}
    ids = before.keys() & after.keys()
    if group:
        groups = result.get("groups", {}).get(part, {})
        ids = {i for i in ids if groups.get(i) == group}
    if not ids:
        return {}
    gained = sum(bool(after[i]) and not before[i] for i in ids)
    lost = sum(bool(before[i]) and not after[i] for i in ids)
    return {"samples": len(ids), "gained": gained, "lost": lost, "interval": matched_interval(gained, lost, len(ids))}
