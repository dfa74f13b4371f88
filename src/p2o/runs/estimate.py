"""How many rollouts and tokens a run takes, from its settings alone: pure arithmetic, for the plan and the screen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core.cost import TRAINED_TOKEN_COST
from ..core.evolve import budget
from ..core.hard import dev_part_size

if TYPE_CHECKING:
    from ..trl.config import P2OConfig


@dataclass(frozen=True)
class RunCounts:
    """Samples, rollouts and updates of a run, over all processes. None: the number of samples is not known."""

    processes: int
    samples: int | None
    group: int
    """K, rollouts of a sample."""
    rollouts_per_generation: int
    rollouts_per_update: int
    generations_per_epoch: int | None
    epochs: float
    updates: int | None
    rollouts: int | None
    """Training rollouts of the whole run."""

    @property
    def samples_per_generation(self) -> int:
        """Samples whose groups are drawn at a time."""
        return self.rollouts_per_generation // self.group


def count_run(training: P2OConfig, processes: int, samples: int | None) -> RunCounts:
    """Counts a run as TRL makes it: a generation feeds ``steps_per_generation`` micro-batches, each ``num_iterations``
    times. Nothing is trained when the samples do not fill one generation."""
    group, iterations = training.num_generations, training.num_iterations
    steps, accumulation = training.steps_per_generation, training.gradient_accumulation_steps
    rollouts = training.per_device_train_batch_size * processes * steps
    epochs, updates, generations = training.num_train_epochs, None, None
    if training.max_steps > 0:
        updates = training.max_steps
    if samples is not None:
        generations = samples * group // rollouts
        per_epoch = math.ceil(generations * steps * iterations / accumulation)
        if updates and per_epoch:
            epochs = updates / per_epoch
        else:
            updates = math.ceil(epochs * per_epoch)
    per_update = accumulation / steps / iterations * rollouts
    return RunCounts(
        processes=processes,
        samples=samples,
        group=group,
        rollouts_per_generation=rollouts,
        rollouts_per_update=training.per_device_train_batch_size * processes * accumulation,
        generations_per_epoch=generations,
        epochs=epochs,
        updates=updates,
        rollouts=None if generations is None or updates is None else round(updates * per_update),
    )


def evolution_count(epochs: float, beside: bool = False) -> int:
    """Most evolutions of a run: one between two epochs, none after the last.

    Args:
        beside: they run beside an epoch, and the first epoch has none beside it (``evolve_beside``).
    """
    return max(0, math.ceil(epochs) - 1 - beside)


def evolution_rollouts(training: P2OConfig, dev_size: int) -> int:
    """Most rollouts of one evolution with ``dev_size`` samples in the dev part."""
    most = budget(training.evolve_budget, dev_size)
    if training.evolve_max_iterations is None or training.evolve_search == "race":
        return most  # a race that found nothing spends the rest of its budget after the last iteration
    proposal = 2 * training.evolve_minibatch + dev_size  # parent and child on the minibatch, the child on the dev part
    return min(most, dev_size + training.evolve_max_iterations * training.evolve_parents * proposal)


@dataclass(frozen=True)
class Tokens:
    """Mean lengths in tokens. Without templated ones, those of the bare prompt are taken for them."""

    prompt: float
    completion: float
    templated_prompt: float | None = None
    templated_completion: float | None = None


@dataclass(frozen=True)
class Projection:
    """Rollouts and forward-equivalent tokens of a whole run. The first epoch's share of hard samples is held
    throughout, so P²O's side is an upper estimate: what graduates costs no more."""

    epochs: float
    live: float
    """Share of groups with spread on the bare prompt, which are all that GRPO trains."""
    grpo_rollouts: float
    p2o_rollouts: float
    grpo_cost: float | None
    p2o_cost: float | None
    """None: not known, for want of measured lengths."""


def project(training: P2OConfig, run: RunCounts, hard: float, live: float, tokens: Tokens | None) -> Projection:
    """What a run will cost against plain GRPO.

    Args:
        run: its counts; it draws some rollouts.
        hard: share of hard samples.
        live: share of groups with spread; only those are trained (``skip_dead_rows``).
        tokens: measured lengths; None: not measured.
    """
    rollouts, K = run.rollouts or 0, run.group
    hard_groups = hard * rollouts / run.epochs / K  # of an epoch
    evolutions, evolution = 0, 0
    if hard_groups >= training.hard_min_count:
        evolutions = evolution_count(run.epochs)
        evolution = evolution_rollouts(training, dev_part_size(int(hard_groups), training.dev_size))
    counts = Projection(run.epochs, live, rollouts, rollouts + evolutions * evolution, None, None)
    if tokens is None:
        return counts
    bare = tokens.prompt + tokens.completion
    completion = tokens.templated_completion or tokens.completion
    templated = (tokens.templated_prompt or tokens.prompt) + completion
    group = K * (bare + TRAINED_TOKEN_COST * (live if training.skip_dead_rows else 1.0) * bare)
    # A templated group is generated under T(x, z), scored under both prompts, and trained on x.
    on_x = tokens.prompt + completion
    templated_group = K * (templated + on_x + templated + TRAINED_TOKEN_COST * on_x)
    scored = {"success": 0.0, "transfer": templated + on_x, "solution": templated}[training.template_worth]  # at most
    grpo = rollouts / K * group
    return replace(
        counts,
        grpo_cost=grpo,
        # Hard groups are almost all dead on the bare prompt: generated, but not trained.
        p2o_cost=grpo + evolutions * (hard_groups * (templated_group - K * bare) + evolution * (templated + scored)),
    )
