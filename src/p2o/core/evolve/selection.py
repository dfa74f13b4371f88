"""Which parents are drawn, and which minibatches. Pure functions: the random generator is an argument."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence


def rng_for(seed: int, *what: object) -> random.Random:
    """A generator that depends on its arguments alone (the same on every machine)."""
    return random.Random(":".join(map(str, (seed, *what))))


def front_weights(front: Mapping[object, set[int]]) -> dict[int, int]:
    """Candidate → the number of dev samples on which it is among the best.

    Args:
        front: dev sample → the candidates with the best score on it (all of them, in a tie). A candidate keeps its
            weight where others are as good as it on each of its samples; gepa's own selector drops it.
    """
    counts: dict[int, int] = {}
    for best in front.values():
        for candidate in best:
            counts[candidate] = counts.get(candidate, 0) + 1
    return dict(sorted(counts.items()))


def draw_parents(weights: Mapping[int, int], count: int, rng: random.Random, fill: bool = False) -> list[int]:
    """Up to ``count`` distinct parents, weighted, without replacement.

    Args:
        weights: candidate → its weight, see `front_weights`.
        fill: whether a front smaller than ``count`` is drawn from again (weighted, with replacement) up to ``count``.
    """
    left = dict(weights)
    out: list[int] = []
    while left and len(out) < count:
        pick = rng.choices(list(left), list(left.values()))[0]
        del left[pick]
        out.append(pick)
    if fill and weights and len(out) < count:
        out += rng.choices(list(weights), list(weights.values()), k=count - len(out))
    return out


def draw_minibatch(unused: list[int], total: int, size: int, rng: random.Random) -> tuple[list[int], list[int]]:
    """A minibatch without replacement from what is unused of ``range(total)``.

    When fewer than ``size`` are left, these are taken first and the rest comes from a fresh round: every sample is
    used once before any is used again.

    Returns:
        The minibatch, and what is unused after it.
    """
    size = min(size, total)
    first = rng.sample(unused, min(size, len(unused)))
    rest = [i for i in unused if i not in first]
    if len(first) == size:
        return first, rest
    second = rng.sample([i for i in range(total) if i not in first], size - len(first))
    return first + second, [i for i in range(total) if i not in second]


def strictly_better(child: Sequence[float], parent: Sequence[float]) -> bool:
    """GEPA's acceptance: the child's minibatch reward sum is strictly larger."""
    return sum(child) > sum(parent)
