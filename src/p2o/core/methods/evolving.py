"""P²O's evolution: what it is given, where it is written, and the pool that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from ...errors import ForeignEvolutionError
from ..evolve import Evolution, EvolveConfig, evolve
from ..hard import split_hard
from ..nearness import nearest_template
from ..samples import Sample
from ..settings import LoopSettings
from ..templates import PoolTemplate, make_pool
from ..transfer import NEAR, solved_near_best
from .base import PromptTools
from .beside import Task


def evolve_on(
    task: Task,
    settings: LoopSettings,
    samples: Mapping[str, Sample],
    seed: int,
    group_size: int,
    tools: PromptTools,
    run_dir: Path,
) -> Evolution:
    """Evolves templates on the hard samples.

    Args:
        samples: all training samples by id.
        seed: of the run.
        group_size: K, rollouts of a sample in training.
        tools: of the policy that the templates are for.
        run_dir: the run's ``p2o`` folder; the evolution has a folder in it.
    """
    train_ids, dev_ids = split_hard(task.hard, settings.dev_size)
    folder = run_dir / f"evolution-{task.number:03d}"

    def run() -> Evolution:
        return evolve(
            train=[samples[i] for i in train_ids],
            dev=[samples[i] for i in dev_ids],
            rollout=tools.roll_out,
            reflector=tools.reflector,
            config=evolve_config(settings, group_size, seed * 100_003 + task.number),
            run_dir=folder,
            progress=tools.progress,
            seeds=["", *(text for text in task.pool if text and settings.warm_start)],
        )

    try:
        return run()
    except ForeignEvolutionError:
        # A killed run left it: one without a checkpoint, or one whose steps the GPU did not repeat bit for bit.
        aside = set_aside(folder)
    evolution = run()
    evolution.warnings.append(f"{folder.name} was made with other samples or settings; it was renamed to {aside.name}")
    return evolution


def pool_of(evolution: Evolution, settings: LoopSettings) -> list[PoolTemplate]:
    """The templates that are kept."""
    if settings.pool == "proposals":
        return [PoolTemplate(text, 1.0, frozenset(), scored=False) for text in evolution.proposals]
    solved_CV = evolution.solved_CV
    if settings.template_worth == "transfer":
        solved_CV = solved_near_best(evolution.scores_CV, solved_CV)
    helped = any(text and any(row) for text, row in zip(evolution.templates, solved_CV, strict=True))
    if evolution.near_C and not helped:
        near = nearest_template(evolution.near_C, evolution.templates.index(""))
        if near is not None:
            rewards = evolution.scores_CV[near]
            return [PoolTemplate(evolution.templates[near], sum(rewards) / len(rewards), frozenset())]
    return make_pool(evolution.templates, evolution.scores_CV, solved_CV, evolution.dev_ids)


def evolve_config(settings: LoopSettings, group_size: int, seed: int) -> EvolveConfig:
    """The settings of an evolution, taken from the loop's settings. Greedy rollouts are not drawn twice.

    Args:
        group_size: K, rollouts of a sample in training.
    """
    return EvolveConfig(
        budget=int(settings.evolve_budget) if settings.evolve_budget.isdigit() else settings.evolve_budget,
        parents=settings.evolve_parents,
        minibatch=settings.evolve_minibatch,
        search=settings.evolve_search,
        group=group_size,
        least_success=NEAR * settings.success_threshold if settings.template_worth == "transfer" else None,
        nearness=settings.template_worth == "solution",
        draws=group_size if settings.evolve_temperature else 1,
        patience=settings.evolve_patience,
        fill_proposals=settings.fill_proposals,
        max_iterations=settings.evolve_max_iterations,
        seed=seed,
        max_template_chars=settings.max_template_chars,
        max_prompt_chars=settings.reflect_max_prompt_chars,
    )


def set_aside(folder: Path) -> Path:
    """Renames a folder to the first free ``NAME-old-N``, and returns that name."""
    aside = next(p for n in count(1) if not (p := folder.with_name(f"{folder.name}-old-{n}")).exists())
    return folder.rename(aside)
