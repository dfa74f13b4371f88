"""Evaluation of a fixed policy: mean@k, unbiased pass@k, greedy accuracy, bare and templated, hint reliance."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.cost import token_sums
from ..core.evolve import HeldAnswers
from ..core.samples import Rollout, RolloutFn, Sample
from ..core.templates import PoolTemplate, assign
from ..core.turns import PlayedRollout, call_shares
from ..errors import ConfigError
from ..runs.run_directory import Epoch
from .statistics import Interval, difference_interval, pass_at_k, success_interval


@dataclass(frozen=True)
class Evaluation:
    """Success of one policy on one data source. JSON-able through ``asdict``."""

    samples: int
    """Samples that are counted."""
    draws: int
    temperature: float
    mean: float
    """Mean success over samples and draws (mean@k)."""
    interval: Interval
    """95 % interval of the mean, over samples (`statistics.success_interval`)."""
    pass_at: dict[int, float]
    """k → unbiased pass@k, for the powers of two up to the draws, and the draws."""
    pass_intervals: dict[int, Interval]
    by_group: dict[str, float]
    """Mean success by value of the group column, if there is one."""
    per_sample: dict[str, float]
    prompt_tokens: int | None
    generated_tokens: int | None
    """None: not measured, some rollouts came without token counts."""
    no_room: int = 0
    """Samples whose prompts leave no room for a completion; they are in no other figure."""
    greedy: float | None = None
    """Success of one greedy completion per sample."""
    greedy_interval: Interval | None = None
    tool_calls: float | None = None
    """Tool calls of a rollout, on average; None: there were no tools."""
    tool_failures: float | None = None
    """Share of these calls that failed; None: no tool was called."""


def evaluate_policy(
    roll_out: RolloutFn,
    samples: Sequence[Sample],
    draws: int = 1,
    temperature: float = 0.0,
    templates: Mapping[str, Sequence[str]] | None = None,
    group_column: str | None = None,
    greedy: RolloutFn | None = None,
) -> Evaluation:
    """Evaluates bare, or under templates. A sample whose prompt leaves no room for a completion is not counted.

    Args:
        roll_out: rolls out at ``temperature``; draws above 1 make sense only above 0.
        draws: k, rollouts of each sample.
        temperature: is recorded.
        templates: sample id → the template of each draw (repeated when there are fewer); bare by default.
        group_column: column whose values split the mean in ``by_group``.
        greedy: rolls out greedily; without it there is no greedy accuracy, but for one draw at temperature 0.

    Raises:
        ConfigError: no prompt leaves room for a completion.
    """
    slots = {s.id: list((templates or {}).get(s.id) or [""]) for s in samples}
    rollouts = roll_out([(slots[s.id][n % len(slots[s.id])], s) for s in samples for n in range(draws)])
    drawn = {s.id: rollouts[n * draws : (n + 1) * draws] for n, s in enumerate(samples)}
    fitting = [s for s in samples if all(r.fits for r in drawn[s.id])]
    if not fitting:
        raise ConfigError("no prompt leaves room for max_completion_length in the model's context; lower it")
    solved = {s.id: sum(r.solved for r in drawn[s.id]) for s in fitting}
    per_sample = {i: count / draws for i, count in solved.items()}
    passes = {k: [pass_at_k(draws, count, k) for count in solved.values()] for k in _ks(draws)}
    greedily: Sequence[Rollout] | None = None
    if greedy is not None:
        greedily = greedy([(slots[s.id][0], s) for s in fitting])
        rollouts = [*rollouts, *greedily]
    elif draws == 1 and temperature == 0:
        greedily = rollouts
    tool_calls, tool_failures = call_shares([r.calls for r in rollouts if isinstance(r, PlayedRollout)])
    hits = [float(r.solved) for r in greedily or [] if r.fits]
    read, written, unmeasured = token_sums(rollouts)
    return Evaluation(
        samples=len(fitting),
        draws=draws,
        temperature=temperature,
        mean=mean(list(per_sample.values())),
        interval=success_interval(list(per_sample.values())),
        pass_at={k: mean(values) for k, values in passes.items()},
        pass_intervals={k: success_interval(values) for k, values in passes.items()},
        by_group=_by_group(fitting, per_sample, group_column),
        per_sample=per_sample,
        prompt_tokens=None if unmeasured else read,
        generated_tokens=None if unmeasured else written,
        greedy=mean(hits) if hits else None,
        greedy_interval=success_interval(hits) if hits else None,
        no_room=len(samples) - len(fitting),
        tool_calls=tool_calls,
        tool_failures=tool_failures,
    )


def _by_group(samples: Sequence[Sample], per_sample: Mapping[str, float], column: str | None) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for s in samples:
        if column and column in s.columns:
            groups.setdefault(str(s.columns[column]), []).append(per_sample[s.id])
    return {group: mean(values) for group, values in sorted(groups.items())}


def _ks(draws: int) -> list[int]:
    return sorted({2**n for n in range(draws.bit_length()) if 2**n <= draws} | {draws})


def mean(values: Sequence[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)


def best_slots(samples: Sequence[Sample], pool: Sequence[PoolTemplate], draws: int, seed: int) -> dict[str, list[str]]:
    """The pool's templates as training draws them, by weight; the first draw has the best one. A template that
    holds a sample's answer is not put before it."""
    held = HeldAnswers(t.text for t in pool)
    leaking = {s.id: held.leaking(s) for s in samples}
    best = max(pool, key=lambda t: t.weight).text

    def leaks(template: str, sample_id: str) -> bool:
        return template in leaking[sample_id]

    drawn = assign([s.id for s in samples], pool, draws, random.Random(seed), forbidden=leaks)
    return {i: [best if not leaks(best, i) else slots[0], *slots[1:]] for i, slots in drawn.items()}


@dataclass(frozen=True)
class TemplateEffect:
    """Success under templates minus bare success, on the same samples."""

    samples: int
    bare: float
    templated: float
    difference: float
    interval: Interval
    """95 %, over samples, which are paired (`statistics.difference_interval`)."""


def template_effect(
    bare: Mapping[str, float], templated: Mapping[str, float], ids: Collection[str] | None = None
) -> TemplateEffect | None:
    """Compares two evaluations sample by sample; None without a common sample.

    On the samples that needed a template this is the *hint reliance*: what the policy can do only with the hint. On
    the samples that have since been learned (graduated) it is the *context-induced change*: below 0, the template
    now hurts.

    Args:
        ids: only these samples.
    """
    shared = sorted(i for i in bare if i in templated and (ids is None or i in ids))
    if not shared:
        return None
    differences = [templated[i] - bare[i] for i in shared]
    return TemplateEffect(
        samples=len(shared),
        bare=mean([bare[i] for i in shared]),
        templated=mean([templated[i] for i in shared]),
        difference=mean(differences),
        interval=difference_interval(differences),
    )


@dataclass
class TemplateHistory:
    """What a run says about the samples that needed a template."""

    templates: dict[str, list[str]] = field(default_factory=dict)
    """Sample id → the templates of its last assignment."""
    graduated: set[str] = field(default_factory=set)
    """Those that were solved bare after having needed one."""
    over_time: list[dict[str, Any]] = field(default_factory=list)
    """By epoch: bare and templated success of the samples that were rolled out both ways, and the difference."""


def template_history(epochs: Sequence[Epoch]) -> TemplateHistory:
    """What the epochs of a run, in order, say of its samples."""
    found = TemplateHistory()
    for epoch in epochs:
        for i, tally in epoch.tallies.items():
            # Templates seen so far are those of earlier epochs: this epoch's file holds the next one's.
            if i in found.templates and tally.bare_solved:
                found.graduated.add(i)
        bare = epoch.summary.get("paired_bare_success")
        templated = epoch.summary.get("paired_templated_success")
        if bare is not None and templated is not None:
            found.over_time.append(
                {
                    "epoch": epoch.number + 1,
                    "bare": bare,
                    "templated": templated,
                    "difference": templated - bare,
                }
            )
        found.templates.update({i: list(templates) for i, templates in epoch.assignment.items()})
    return found
