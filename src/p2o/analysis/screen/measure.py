"""A pre-flight test: is P²O worth its cost on this data, with this policy and this reflector?

Draws bare groups, evolves templates on the hard samples, and measures on samples held out from that evolution what
the templates add (the gap between prompted and bare success predicts what can be internalized, arXiv 2605.30070) and
how much of it the ratio mask would let through.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.evolve import Evolution, evolve
from ...core.hard import split_hard
from ...core.loop import evolve_config
from ...core.samples import Rollout, Sample
from ...core.states import GROUP_OUTCOMES, GroupOutcome, has_spread, outcome_of
from ...core.templates import apply_template, make_pool, pool_to_json
from ...generation.policies import LocalPolicy, Policy, reflector_with, rollout_fn, successes
from ...runs.estimate import Projection, Tokens, count_run, project
from ...trl.display import EvolutionBar
from ..evaluation import TemplateEffect, best_slots, template_effect
from ..statistics import Interval, wilson_interval

if TYPE_CHECKING:
    from ...rewards import RewardSet
    from ...runs.recipe import Recipe

HELD_OUT = 1 / 3
"""Share of the hard samples that no evolution sees."""
MAX_HELD_OUT = 64
LEAST_HARD = 8
"""With fewer hard samples in the screen nothing can be measured."""
MAX_DEV = 32
SCREEN_BUDGET = 400


@dataclass(frozen=True)
class Share:
    """A part of the groups."""

    count: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class Masked:
    """What the ratio mask would let through of the solved templated rollouts."""

    rollouts: int
    tokens: int
    tokens_below: float
    """Share of tokens under the lower bound."""
    tokens_above: float
    clean_rollouts: float
    """Share of rollouts without any token under the lower bound."""
    passing: float
    """Of all that the bare prompt lacks (log-probability, summed over the tokens that it makes less likely), the share
    on tokens that are trained."""

    @property
    def gain_passing(self) -> float:
        """The better of the two: many short rollouts pass whole, long ones pass for the most part."""
        return max(self.clean_rollouts, self.passing)


@dataclass
class Screen:
    """All that a screen measured. JSON-able through ``asdict``."""

    samples: int
    """Samples drawn."""
    total: int
    """Samples in the training data."""
    draws: int
    outcomes: dict[GroupOutcome, Share]
    """Groups that all failed, are mixed, are all solved."""
    hard: Share
    """Groups with fewer than τ solved rollouts: what the prompt step would work on."""
    no_spread: Share
    """Groups whose rewards are all equal: GRPO learns nothing from them."""
    hard_min_count: int
    pool: list[dict[str, Any]] = field(default_factory=list)
    evolution: dict[str, Any] = field(default_factory=dict)
    reflector_failures: float | None = None
    """Share of the reflector's replies that were no usable template (errors, no text, leaks); None if not asked."""
    gap: TemplateEffect | None = None
    masked: Masked | None = None
    projection: Projection | None = None


def outcome_shares(groups: Sequence[Sequence[Rollout]]) -> dict[GroupOutcome, Share]:
    """Groups by how many of their rollouts were solved."""
    found = [outcome_of(sum(r.solved for r in group), len(group)) for group in groups]
    return {outcome: _share(found.count(outcome), len(groups)) for outcome in GROUP_OUTCOMES}


def no_spread_share(groups: Sequence[Sequence[Rollout]]) -> Share:
    """The groups whose rewards are all equal."""
    return _share(sum(not has_spread(r.reward for r in group) for group in groups), len(groups))


def _share(count: int, total: int) -> Share:
    return Share(count, count / max(1, total), wilson_interval(count, total))


def measure_screen(recipe: Recipe, policy: Policy, samples: Sequence[Sample], rewards: RewardSet, size: int) -> Screen:
    """Runs the whole test.

    Args:
        samples: the training data, of which ``size`` are drawn.
    """
    training, K = recipe.training, recipe.training.num_generations
    rng = random.Random(training.seed)
    drawn = rng.sample(list(samples), min(size, len(samples)))
    roll_out = rollout_fn(policy, rewards, training.temperature, training.max_completion_length)
    bare = successes(roll_out, drawn, K)
    solved = {i: sum(r.solved for r in rows) for i, rows in bare.items()}
    hard = [s for s in drawn if solved[s.id] < training.tau]
    result = Screen(
        samples=len(drawn),
        total=len(samples),
        draws=K,
        outcomes=outcome_shares(list(bare.values())),
        hard=_share(len(hard), len(drawn)),
        no_spread=no_spread_share(list(bare.values())),
        hard_min_count=training.hard_min_count,
    )
    costs = [(r.prompt_tokens, r.completion_tokens) for rows in bare.values() for r in rows]
    tokens = Tokens(*_means(costs))
    if len(hard) >= LEAST_HARD:
        rng.shuffle(hard)
        held = hard[: min(MAX_HELD_OUT, math.ceil(HELD_OUT * len(hard)))]
        evolution = _evolve(recipe, policy, rewards, hard[len(held) :])
        pool = make_pool(evolution.templates, evolution.scores_CV, evolution.solved_CV, evolution.dev_ids)
        result.pool = [t for t in pool_to_json(pool) if t["text"]]
        result.evolution = _figures(evolution)
        result.reflector_failures = failure_rate(evolution)
        if result.pool:
            templates = best_slots(held, pool, K, training.seed)
            result.gap, result.masked, under = _held_out(recipe, policy, rewards, held, templates)
            tokens = replace(tokens, templated_prompt=under[0], templated_completion=under[1])
    run = count_run(training, recipe.task.processes or training.world_size, len(samples))
    if run.rollouts:
        result.projection = project(training, run, result.hard.share, 1 - result.no_spread.share, tokens)
    return result


def _evolve(recipe: Recipe, policy: Policy, rewards: RewardSet, hard: Sequence[Sample]) -> Evolution:
    training = recipe.training
    by_id = {s.id: s for s in hard}
    train, dev = split_hard([s.id for s in hard], min(MAX_DEV, training.dev_size, len(hard) // 2))
    bar = EvolutionBar("evolving templates")
    try:
        with tempfile.TemporaryDirectory() as folder:
            return evolve(
                [by_id[i] for i in train],
                [by_id[i] for i in dev],
                rollout_fn(policy, rewards, training.evolve_temperature, training.max_completion_length),
                reflector_with(recipe, policy),
                replace(evolve_config(training, training.seed), budget=max(SCREEN_BUDGET, 4 * len(dev))),
                Path(folder),
                bar.update,
            )
    finally:
        bar.close()


def _figures(evolution: Evolution) -> dict[str, Any]:
    return {
        "candidates": len(evolution.candidates),
        "fates": evolution.fates,
        "rollouts": evolution.cost.metric_calls,
        "best_dev_scores": evolution.best_scores,
        "dev_samples": len(evolution.dev_ids),
        "stopped": evolution.stopped,
        "warnings": evolution.warnings,
    }


def failure_rate(evolution: Evolution) -> float | None:
    """Of all replies, those that were no usable template."""
    proposals = [c for c in evolution.candidates if c.parent is not None]
    useless = [c for c in proposals if c.fate not in ("accepted", "rejected", "duplicate")]
    return len(useless) / len(proposals) if proposals else None


def _held_out(
    recipe: Recipe,
    policy: Policy,
    rewards: RewardSet,
    held: Sequence[Sample],
    templates: Mapping[str, Sequence[str]],
) -> tuple[TemplateEffect | None, Masked | None, tuple[float, float]]:
    """(prompted minus bare, what passes the mask, mean tokens of a templated prompt and completion).

    The bare side is drawn anew: the first draw is what made these samples hard, so it is biased towards failure.
    """
    training, K = recipe.training, recipe.training.num_generations
    heat, length = training.temperature, training.max_completion_length
    bare = successes(rollout_fn(policy, rewards, heat, length), held, K)
    rows = [(template, s) for s in held for template in (templates.get(s.id) or [""] * K)]
    completions = policy.complete([apply_template(t, s.messages) for t, s in rows], heat, length)
    scored = rewards.score([c.text for c in completions], [s for _, s in rows])
    templated: dict[str, list[bool]] = {}
    for (_, s), score in zip(rows, scored, strict=True):
        templated.setdefault(s.id, []).append(score.solved)
    gap = template_effect(
        {i: sum(r.solved for r in found) / K for i, found in bare.items()},
        {i: sum(found) / K for i, found in templated.items()},
    )
    masked = None
    good = [n for n, ((t, _), score) in enumerate(zip(rows, scored, strict=True)) if t and score.solved]
    if good and isinstance(policy, LocalPolicy):
        ids = [completions[n].ids for n in good]
        under = policy.token_logps([apply_template(rows[n][0], rows[n][1].messages) for n in good], ids, heat or 1.0)
        plain = policy.token_logps([rows[n][1].messages for n in good], ids, heat or 1.0)
        masked = what_passes(plain, under, training.ratio_low, training.ratio_high)
    return gap, masked, _means([(c.prompt_tokens, c.completion_tokens) for c in completions])


def what_passes(
    bare: Sequence[Sequence[float]], templated: Sequence[Sequence[float]], low: float, high: float
) -> Masked:
    """Applies the mask's bounds to the log-probs of solved templated rollouts, a row each."""
    rows = [[b - t for b, t in zip(bs, ts, strict=True)] for bs, ts in zip(bare, templated, strict=True)]
    ratios = [r for row in rows for r in row]
    lacking = -sum(min(0.0, r) for r in ratios)
    trained = -sum(min(0.0, r) for r in ratios if r >= math.log(low))
    return Masked(
        rollouts=len(rows),
        tokens=len(ratios),
        tokens_below=sum(r < math.log(low) for r in ratios) / len(ratios),
        tokens_above=sum(r > math.log(high) for r in ratios) / len(ratios),
        clean_rollouts=sum(min(row) >= math.log(low) for row in rows) / len(rows),
        passing=trained / lacking if lacking else 1.0,
    )


def _means(pairs: Sequence[tuple[int, int]]) -> tuple[float, float]:
    return sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)
