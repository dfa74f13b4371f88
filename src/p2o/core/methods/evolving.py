"""What P²O hands to an evolution: its settings and an empty folder."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ..evolve import EvolveConfig
from ..settings import LoopSettings


def evolve_config(settings: LoopSettings, seed: int) -> EvolveConfig:
    """The settings of an evolution, taken from the loop's settings."""
    return EvolveConfig(
        budget=int(settings.evolve_budget) if settings.evolve_budget.isdigit() else settings.evolve_budget,
        parents=settings.evolve_parents,
        minibatch=settings.evolve_minibatch,
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
