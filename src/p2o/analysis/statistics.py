"""Intervals of shares and of differences, over samples and over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_DRAWS = 4000
BOOTSTRAP_CELLS = 4_000_000
"""Counts drawn at a time, which bounds the memory."""

Interval = tuple[float, float]
"""(low, high), 95 % unless a function says otherwise."""
Outcomes = Mapping[str, float]
"""Sample id → success (0 or 1)."""


def pass_at_k(draws: int, solved: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k rollouts is solved (Chen et al., 2107.03374).

    Args:
        draws: rollouts drawn, at least k.
        solved: how many of them were solved.
    """
    return 1.0 - math.comb(draws - solved, k) / math.comb(draws, k)


def bootstrap_interval(values: Sequence[float], seed: int = 0, level: float = 0.95) -> Interval:
    """Percentile interval of the mean, by resampling the samples."""
    return two_way_bootstrap(np.asarray([values], dtype=float), seed, level)


def wilson_interval(hits: int, total: int, z: float = 1.96) -> Interval:
    """95 % interval of a share; sensible at 0 and 1 too, where the bootstrap has no width."""
    if not total:
        return 0.0, 1.0
    share, spread = hits / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def success_interval(values: Sequence[float]) -> Interval:
    """95 % interval of a mean success (each value from 0 to 1): the bootstrap, and Wilson's where all values are
    alike. There the bootstrap has no width, and the truth need not be 0 or 1."""
    low, high = bootstrap_interval(values)
    return wilson_interval(round(values[0] * len(values)), len(values)) if low == high else (low, high)


def matched_interval(gained: int, lost: int, samples: int, z: float = 1.96) -> Interval:
    """95 % interval of the change of a share, of the same samples before and after (Agresti and Min 2005, which adds
    half an observation to each cell and so has a sensible width when nothing changed).

    Args:
        gained: samples that are solved after, and were not before.
        lost: samples that were solved before, and are not after.
        samples: all of them.
    """
    up, down, total = gained + 0.5, lost + 0.5, samples + 2
    centre = (up - down) / total
    half = z * math.sqrt(up + down - (up - down) ** 2 / total) / total
    return max(-1.0, centre - half), min(1.0, centre + half)


def difference_interval(differences: Sequence[float]) -> Interval:
    """95 % interval of the mean of paired differences (each from -1 to 1): the bootstrap, and `matched_interval` where
    all differences are alike."""
    low, high = bootstrap_interval(differences)
    if low < high:
        return low, high
    samples = len(differences)
    changed = round(differences[0] * samples)
    return matched_interval(max(0, changed), max(0, -changed), samples)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and samples. JSON-able through ``asdict``."""

    mean: float
    interval: Interval
    """95 %, by resampling seeds and samples."""
    seeds: int
    samples: int


def mean_success(runs: Mapping[int, Outcomes]) -> Estimate:
    """Mean success of one arm.

    Args:
        runs: seed → outcomes; at least one seed, and one sample that all seeds have.
    """
    values_SN = _matrix([runs[s] for s in sorted(runs)])
    interval = two_way_bootstrap(values_SN)
    if interval[0] == interval[1]:
        interval = success_interval(values_SN.mean(axis=0).tolist())
    return Estimate(float(values_SN.mean()), interval, *values_SN.shape)


def paired_difference(ours: Mapping[int, Outcomes], theirs: Mapping[int, Outcomes]) -> Estimate | None:
    """Mean of ours − theirs, paired by seed and sample; None without a common seed and sample."""
    seeds = sorted(ours.keys() & theirs.keys())
    pairs = [{i: ours[s][i] - theirs[s][i] for i in ours[s].keys() & theirs[s].keys()} for s in seeds]
    values_SN = _matrix(pairs)
    if not values_SN.size:
        return None
    interval = two_way_bootstrap(values_SN)
    if interval[0] == interval[1]:
        interval = difference_interval(values_SN.mean(axis=0).tolist())
    return Estimate(float(values_SN.mean()), interval, *values_SN.shape)


def two_way_bootstrap(values_SN: np.ndarray, seed: int = 0, level: float = 0.95) -> Interval:
    """Percentile interval of the mean of S seeds × N samples, resampling seeds and samples independently.

    Both are random and crossed (every seed meets every sample), so both are drawn with replacement (the pigeonhole
    bootstrap; Owen 2007); that is conservative. With one seed only the samples vary.

    Samples with the same values are counted together, so 100,000 samples take no longer than 100.
    """
    rng = np.random.default_rng(seed)
    S, N = values_SN.shape
    _, first_U, counts_U = np.unique(values_SN, axis=1, return_index=True, return_counts=True)
    order_U = np.argsort(first_U)  # as they come, not by size: the interval of the negated values is the negated one
    values_SU, counts_U = values_SN[:, first_U[order_U]], counts_U[order_U]
    rows = max(1, BOOTSTRAP_CELLS // len(counts_U))
    means: list[np.ndarray] = []
    for start in range(0, BOOTSTRAP_DRAWS, rows):
        draws = min(rows, BOOTSTRAP_DRAWS - start)
        drawn_DS = rng.multinomial(S, np.full(S, 1 / S), draws)
        drawn_DU = rng.multinomial(N, counts_U / N, draws)
        means.append(np.einsum("ds,su,du->d", drawn_DS, values_SU, drawn_DU, optimize=True) / (S * N))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _matrix(rows: Sequence[Outcomes]) -> np.ndarray:
    """S runs × N samples, of the samples that all runs have."""
    ids = sorted(set.intersection(*map(set, rows))) if rows else []
    return np.array([[float(row[i]) for i in ids] for row in rows])
