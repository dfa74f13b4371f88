"""When an evolution is worth its cost (``evolve_when: stuck``). Pure.

    live = mixed groups / groups that are not all solved          (of an epoch without templates)

While GRPO finds successes by itself, and more of them from epoch to epoch, templates are not needed: an evolution and
the long prompts after it cost more than several bare epochs (docs/results.md, "When do I need it?").
"""

from __future__ import annotations

from collections.abc import Iterable

from .hard import Tally

LEAST_LIVE = 0.15
"""Below this share GRPO learns from luck alone. In the sandbox's worlds it is 0.05 to 0.15 where at most one bare
rollout in two thousand is right, and 0.17 or more where one in two hundred is (docs/results.md)."""
LEAST_GROWTH = 1.25
"""From one epoch to the next, unless the share is large."""
LARGE = 1 / 4


def mixed_of(tallies: Iterable[Tally]) -> tuple[int, int]:
    """(mixed groups, groups that are not all solved)."""
    unsolved = [tally for tally in tallies if tally.successes < tally.rollouts]
    return sum(tally.successes > 0 for tally in unsolved), len(unsolved)


def live_share(tallies: Iterable[Tally]) -> float:
    """Share of mixed groups among those that are not all solved; 0 if all are."""
    mixed, unsolved = mixed_of(tallies)
    return mixed / max(1, unsolved)


def alone_note(tallies: Iterable[Tally]) -> str:
    """Why no evolution is made, for a person."""
    mixed, unsolved = mixed_of(tallies)
    return (
        f"no evolution yet: {mixed} of the {unsolved} unsolved groups hold right and wrong answers, so GRPO learns "
        "from them without templates"
    )


def gets_on_alone(live: float, before: float | None) -> bool:
    """Whether GRPO gets on without templates.

    Args:
        live: of the epoch that has ended.
        before: of the epoch before it; None if there is none without templates.
    """
    if live < LEAST_LIVE:
        return False
    return before is None or live >= LARGE or live >= LEAST_GROWTH * before
