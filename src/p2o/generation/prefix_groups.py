"""Which prompts of a batch begin alike, and how many tokens they share. Pure functions on token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

ALIKE = 0.5
"""Two prompts are in one group if they share this part of the shorter one."""
WORTH, SAVED = 0.7, 512
"""Prefixes are shared if at most this part of the prompt tokens is left to compute, and at least this many tokens are
saved: sharing needs one more forward pass."""
PADDING = 0.1
"""Prompts are computed in one pass if at most this part of it is padding."""

Ids = Sequence[int]


def common(a: Ids, b: Ids) -> int:
    """Number of tokens at the beginning that two rows share."""
    least, most = 0, min(len(a), len(b))
    while least < most:  # slices are compared without Python for each token
        middle = (least + most + 1) // 2
        least, most = (middle, most) if a[least:middle] == b[least:middle] else (least, middle - 1)
    return least


def groups_of(rows: Sequence[Ids]) -> list[int]:
    """The group of each row. Rows that begin alike are in one group if there are enough of them, else in group 0. The
    number that is enough is chosen so that the fewest tokens must be computed."""
    runs: list[list[int]] = []
    for n in sorted(range(len(rows)), key=lambda n: tuple(rows[n])):
        head = rows[runs[-1][0]] if runs else ()
        if runs and common(head, rows[n]) >= ALIKE * min(len(head), len(rows[n])):
            runs[-1].append(n)
        else:
            runs.append([n])

    def grouped(enough: int) -> list[int]:
        groups = [0] * len(rows)
        for number, run in enumerate(runs, start=1):
            if len(run) >= enough:
                for n in run:
                    groups[n] = number
        return groups

    return min((grouped(size) for size in sorted({len(run) + 1 for run in runs} | {2})), key=partial(computed, rows))


def prefix_lengths(rows: Sequence[Ids], groups: Sequence[int]) -> dict[int, int]:
    """Group → number of tokens that all its rows begin with. The last token of a row is never part of it."""
    lengths: dict[int, int] = {}
    first: dict[int, Ids] = {}
    for row, group in zip(rows, groups, strict=True):
        length = common(first.setdefault(group, row), row)
        lengths[group] = min(lengths.get(group, length), length, len(row) - 1)
    return lengths


def stretches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of the prompts of each pass.

    Args:
        lengths: sorted.
    """
    found, start = [], 0
    for n in range(1, len(lengths) + 1):
        if n == len(lengths) or sum(lengths[start : n + 1]) < (1 - PADDING) * (n + 1 - start) * lengths[n]:
            found.append((start, n))
            start = n
    return found


def padded(lengths: Iterable[int]) -> int:
    """Number of tokens that the passes over texts of these lengths compute, padding included."""
    known = sorted(lengths)
    return sum((end - start) * known[end - 1] for start, end in stretches(known))


def computed(rows: Sequence[Ids], groups: Sequence[int]) -> int:
    """Number of prompt tokens to compute with shared prefixes, padding included."""
    lengths = prefix_lengths(rows, groups)
    rests = [len(row) - lengths[group] for row, group in zip(rows, groups, strict=True)]
    return padded(lengths.values()) + padded(rests)


def pays(rows: Sequence[Ids], groups: Sequence[int]) -> bool:
    """Whether shared prefixes save enough."""
    before, after = padded(map(len, rows)), computed(rows, groups)
    return after <= WORTH * before and before - after >= SAVED
