"""A pre-flight test: is P²O worth its cost on this data, with this policy and this reflector?

Draws bare groups, evolves templates on the hard samples, and measures on samples held out from that evolution what
the templates add (the gap between prompted and bare success predicts what can be internalized, arXiv 2605.30070) and
how much of it each way of distillation would let through.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ...core.cost import CostMeter, Counted, token_sums
from ...core.display import EvolutionBar
from ...core.evolve import Evolution
from ...core.hard import dev_part_size
from ...core.loop import JointLoop
from ...core.methods.p2o import P2O
from ...core.samples import Rollout, Sample
from ...core.settings import LoopSettings
from ...core.states import GROUP_OUTCOMES, GroupOutcome, has_spread, outcome_of
from ...core.templates import PoolTemplate, pool_to_json
from ...runs.estimate import Projection, Tokens, count_run, evolution_rollouts, project
from ...runs.fixed_policy import FixedPolicy
from ..evaluation import TemplateEffect, best_slots, mean, template_effect
from ..statistics import Interval, wilson_interval
from .reach import Reaches, reaches

HELD_OUT = 1 / 3
"""Share of the hard samples that no evolution sees."""
MAX_HELD_OUT = 64
LEAST_HARD = 8
"""With fewer hard samples in the screen nothing can be measured."""
MAX_DEV = 32
PATIENCE = 2
"""Iterations in a row without progress, once a template was found."""


@dataclass(frozen=True)
class Share:
    """A part of the groups."""

    count: int
    share: float
    interval: Interval
    """Wilson's, 95 %."""


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
    """Figures of the evolution: its budget, its rollouts, what it proposed, why it stopped, and ``of_run``, the most
    rollouts of one evolution of the recipe's own."""
    reflector_failures: float | None = None
    """Share of the reflector's replies that were no usable template (errors, no text, leaks); None if not asked."""
    gap: TemplateEffect | None = None
    """Success under templates minus bare success on held-out hard samples; None: not measured."""
    distillation: str = "mask"
    """The recipe's way of distillation."""
    reaches: Reaches | None = None
    """None: not measured, for want of a solved templated rollout or of a policy that gives log-probs."""
    projection: Projection | None = None
    """None where the run's rollouts cannot be counted beforehand."""


def outcome_shares(groups: Sequence[Sequence[Rollout]]) -> dict[GroupOutcome, Share]:
    """Groups by how many of their rollouts were solved."""
    found = [outcome_of(sum(r.solved for r in group), len(group)) for group in groups]
    return {outcome: _share(found.count(outcome), len(groups)) for outcome in GROUP_OUTCOMES}


def no_spread_share(groups: Sequence[Sequence[Rollout]]) -> Share:
    """The groups whose rewards are all equal."""
    return _share(sum(not has_spread(r.reward for r in group) for group in groups), len(groups))


def _share(count: int, total: int) -> Share:
    return Share(count, count / max(1, total), wilson_interval(count, total))


def measure_screen(fixed: FixedPolicy, samples: Sequence[Sample], size: int, budget: int) -> Screen:
    """Runs the whole test.

    Args:
        fixed: the starting policy with the recipe's rewards and reflector.
        samples: the training data, of which ``size`` are drawn.
        budget: most rollouts of the evolution.
    """
    training, K = fixed.recipe.training, fixed.recipe.training.num_generations
    rng = random.Random(training.seed)
    drawn = rng.sample(list(samples), min(size, len(samples)))
    bare = fixed.draw(drawn, K)
    drawn = [s for s in drawn if s.id in bare]
    hard = [s for s in drawn if sum(r.solved for r in bare[s.id]) < training.tau]
    result = Screen(
        samples=len(drawn),
        total=len(samples),
        draws=K,
        outcomes=outcome_shares(list(bare.values())),
        hard=_share(len(hard), len(drawn)),
        no_spread=no_spread_share(list(bare.values())),
        hard_min_count=training.hard_min_count,
        distillation=training.distillation,
    )
    lengths = _mean_tokens([r for rows in bare.values() for r in rows])
    tokens = Tokens(*lengths) if lengths else None
    if len(hard) >= LEAST_HARD:
        rng.shuffle(hard)
        held = hard[: min(MAX_HELD_OUT, math.ceil(HELD_OUT * len(hard)))]
        evolution, pool = evolve_on(fixed, hard[len(held) :], bare, budget)
        result.pool = [t for t in pool_to_json(pool) if t["text"] and (t["solves"] or not t["scored"])]
        of_run = evolution_rollouts(training, dev_part_size(round(result.hard.share * len(samples)), training.dev_size))
        result.evolution = {**_figures(evolution), "of_run": of_run}
        result.reflector_failures = failure_rate(evolution)
        if result.pool:
            templates = best_slots(held, pool, K, training.seed)
            result.gap, result.reaches, under = _held_out(fixed, held, templates)
            if under is not None and tokens is not None:
                tokens = replace(tokens, templated_prompt=under[0], templated_completion=under[1])
    run = count_run(training, fixed.recipe.task.processes or training.world_size, len(samples))
    if run.rollouts:
        result.projection = project(training, run, result.hard.share, 1 - result.no_spread.share, tokens)
    return result


def evolve_on(
    fixed: FixedPolicy, hard: Sequence[Sample], bare: Mapping[str, Sequence[Rollout]], budget: int
) -> tuple[Evolution, list[PoolTemplate]]:
    """(the evolution, its pool) of one prompt step on these hard samples.

    It asks whether any template helps. So it compares templates by a race, which finds those that seldom succeed too,
    fills its batches, and ends soon after it has found some, whatever the recipe's own evolutions do.
    """
    training = fixed.recipe.training
    dev_size = dev_part_size(len(hard), min(MAX_DEV, training.dev_size))
    settings = loop_settings(training)
    settings.method, settings.hard_min_count, settings.dev_size = "p2o", 2, dev_size
    settings.evolve_search, settings.evolve_patience, settings.fill_proposals = "race", PATIENCE, True
    settings.evolve_budget, settings.evolve_max_iterations = str(budget), None
    bar = EvolutionBar("evolving templates")
    try:
        with tempfile.TemporaryDirectory() as folder:
            loop = JointLoop(settings, {s.id: s for s in hard}, Path(folder), training.num_generations, training.seed)
            fixed.prompt_step(loop, {s.id: list(bare[s.id]) for s in hard}, CostMeter(), bar.update)
            method = loop.method
            assert isinstance(method, P2O)
            assert method.evolution is not None  # more than hard_min_count samples are hard
            return method.evolution, method.templates
    finally:
        bar.close()


def loop_settings(training: LoopSettings) -> LoopSettings:
    """The loop's part of a trainer's settings."""
    return LoopSettings(**{f.name: getattr(training, f.name) for f in fields(LoopSettings)})


def _figures(evolution: Evolution) -> dict[str, Any]:
    return {
        "candidates": len(evolution.candidates),
        "fates": evolution.fates,
        "reflector_errors": evolution.cost.failures(),
        "budget": evolution.budget,
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
    fixed: FixedPolicy, held: Sequence[Sample], templates: Mapping[str, Sequence[str]]
) -> tuple[TemplateEffect | None, Reaches | None, tuple[float, float] | None]:
    """(templated minus bare, what can be distilled, mean tokens of a templated prompt and completion).

    The bare side is drawn anew: the first draw is what made these samples hard, so it is biased towards failure.
    Templated prompts that leave no room for a completion are not counted; None where nothing is left.
    """
    training, K = fixed.recipe.training, fixed.recipe.training.num_generations
    heat = training.temperature
    bare = fixed.draw(held, K)
    rows = [(template, s) for s in held for template in (templates.get(s.id) or [""] * K)]
    drawn = fixed.scored(rows, heat)
    rows = [row for row, (completion, _) in zip(rows, drawn, strict=True) if completion.fits]
    completions = [completion for completion, _ in drawn if completion.fits]
    scored = [score for completion, score in drawn if completion.fits]
    templated: dict[str, list[bool]] = {}
    for (_, s), score in zip(rows, scored, strict=True):
        templated.setdefault(s.id, []).append(score.solved)
    gap = template_effect(
        {i: sum(r.solved for r in found) / K for i, found in bare.items()},
        {i: mean([float(solved) for solved in found]) for i, found in templated.items()},
    )
    found = None
    good = [n for n, ((t, _), score) in enumerate(zip(rows, scored, strict=True)) if t and score.solved]
    if good and fixed.local is not None:
        solved = [completions[n] for n in good]
        under = fixed.token_logps([rows[n] for n in good], solved, heat or 1.0)
        plain = fixed.token_logps([("", rows[n][1]) for n in good], solved, heat or 1.0)
        found = reaches(plain, under, loop_settings(training))
    return gap, found, _mean_tokens(completions)


def _mean_tokens(texts: Sequence[Counted]) -> tuple[float, float] | None:
    """Mean tokens of a prompt and of a completion; None where not all are measured, or there are none."""
    read, written, unmeasured = token_sums(texts)
    return (read / len(texts), written / len(texts)) if texts and not unmeasured else None
