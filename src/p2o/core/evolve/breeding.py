"""What a proposal is made from in a race: failures to learn from, and sometimes a second parent. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

CROSSED = 0.5
"""The chance that a proposal has a partner, if there is one."""


def draw_failures(
    unused: Collection[int], solved: Collection[int], failed: Collection[int], total: int, size: int, rng: random.Random
) -> tuple[list[int], list[int]]:
    """A minibatch that holds failures: a parent that solves all of it has nothing to show to the reflector.

    All but one are samples on which the parent is known to fail, as far as there are any: they cost nothing. The rest
    are samples that no minibatch of this round has had; those that the parent is known to solve come last.

    Args:
        unused: of ``range(total)``, what no minibatch of this round has had.
        solved: what the parent is known to solve.
        failed: where it is known to fail.

    Returns:
        The minibatch, and what is unused after it.
    """
    shuffled = rng.sample(range(total), total)
    known = [i for i in shuffled if i in failed][: size - 1]

    def rank(i: int) -> int:
        return 0 if i in known else 3 if i in solved else 1 if i in unused else 2

    minibatch = sorted(shuffled, key=rank)[:size]
    return minibatch, [i for i in unused if i not in minibatch] or list(range(total))


def draw_partner(solved: Sequence[Collection[int]], parent: int, rng: random.Random) -> int | None:
    """A second parent that solves dev samples on which the first one fails, drawn by their number.

    Args:
        solved: the dev samples that each candidate of the pool solves.
        parent: the first parent's place in the pool.

    Returns:
        The place of the partner; None in half of the draws (`CROSSED`), and where no other candidate solves more.
    """
    weights = {n: len(set(own) - set(solved[parent])) for n, own in enumerate(solved) if n != parent}
    weights = {n: weight for n, weight in weights.items() if weight}
    if not weights or rng.random() >= CROSSED:
        return None
    return rng.choices(list(weights), list(weights.values()))[0]
