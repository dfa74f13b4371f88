"""Evaluation of a fixed policy: mean@k, unbiased pass@k, bare and templated, hint reliance."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .policies import successes
from .samples import RolloutFn, Sample

BOOTSTRAP_DRAWS = 2000


def pass_at_k(draws: int, solved: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k rollouts is solved (Chen et al., 2107.03374).

    Args:
        draws: rollouts drawn, at least k.
        solved: how many of them were solved.
    """
    return 1.0 - math.comb(draws - solved, k) / math.comb(draws, k)


def bootstrap_interval(values: Sequence[float], seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean, by resampling the samples."""
    rng = random.Random(seed)
    n = len(values)
    means = sorted(sum(rng.choices(values, k=n)) / n for _ in range(BOOTSTRAP_DRAWS))
    tail = (1 - level) / 2
    return means[int(tail * BOOTSTRAP_DRAWS)], means[min(BOOTSTRAP_DRAWS - 1, int((1 - tail) * BOOTSTRAP_DRAWS))]


@dataclass(frozen=True)
class Evaluation:
    """Success of one policy on one data source. JSON-able through ``vars``."""

    samples: int
    draws: int
    temperature: float
    mean: float
    """Mean success over samples and draws (mean@k)."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the mean over samples."""
    pass_at: dict[int, float]
    """k → unbiased pass@k, for the powers of two up to the draws."""
    by_group: dict[str, float]
    """Mean success by value of the group column, if there is one."""
    per_sample: dict[str, float]
    prompt_tokens: int
    generated_tokens: int


def evaluate(
    roll_out: RolloutFn,
    samples: Sequence[Sample],
    draws: int = 1,
    temperature: float = 0.0,
    template: str = "",
    group_column: str | None = None,
) -> Evaluation:
    """Evaluates bare (``template`` "") or with one template for all samples.

    Args:
        roll_out: rolls out at ``temperature``; draws above 1 make sense only above 0.
    """
    rollouts = successes(roll_out, samples, draws, {s.id: template for s in samples})
    solved = {i: [r.solved for r in rows] for i, rows in rollouts.items()}
    per_sample = {i: sum(s) / draws for i, s in solved.items()}
    groups: dict[str, list[float]] = {}
    for s in samples:
        if group_column and group_column in s.columns:
            groups.setdefault(str(s.columns[group_column]), []).append(per_sample[s.id])
    ks = [2**n for n in range(draws.bit_length()) if 2**n <= draws]
    return Evaluation(
        samples=len(samples),
        draws=draws,
        temperature=temperature,
        mean=sum(per_sample.values()) / len(samples),
        interval=bootstrap_interval(list(per_sample.values())),
        pass_at={k: sum(pass_at_k(draws, sum(s), k) for s in solved.values()) / len(samples) for k in ks},
        by_group={g: sum(v) / len(v) for g, v in sorted(groups.items())},
        per_sample=per_sample,
        prompt_tokens=sum(r.prompt_tokens for rows in rollouts.values() for r in rows),
        generated_tokens=sum(r.completion_tokens for rows in rollouts.values() for r in rows),
    )


def hint_reliance(bare: Mapping[str, float], templated: Mapping[str, float]) -> dict[str, Any]:
    """Success with the template minus success bare on the same samples, with its paired interval."""
    differences = [templated[i] - bare[i] for i in sorted(bare)]
    return {
        "difference": sum(differences) / len(differences),
        "interval": bootstrap_interval(differences),
        "samples": len(differences),
    }
