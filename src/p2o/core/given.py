"""Completions that a method gives in place of rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Given(str):
    """A scaffold that is no prompt: the slot's completion is this text, on the bare prompt, and nothing is drawn.

    It is rewarded, and its advantage is that of the whole group. Its probability where it comes from counts as 1, so
    that its ratio is π_old(y_t | x). It counts in no figure of success: the policy did not write it.
    """


def gives(assignment: Iterable[Iterable[str]]) -> bool:
    """Whether some slot is given."""
    return any(isinstance(scaffold, Given) for slots in assignment for scaffold in slots)


def prompted(assignment: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The part of an assignment that stands in front of prompts: given slots are bare in it, and samples without any
    other scaffold are left out."""
    bare = {i: ["" if isinstance(text, Given) else text for text in slots] for i, slots in assignment.items()}
    return {i: slots for i, slots in bare.items() if any(slots)}
