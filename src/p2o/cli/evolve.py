"""``p2o evolve``: templates for the hard samples of a fixed policy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base.files import read_json, write_json, write_text
from ..base.terminal import console, percent
from ..core.templates import PoolTemplate, pool_from_json, pool_to_json
from ..errors import ConfigError
from ..runs.claim import claimed_for_evolution
from ..runs.model_card import pool_page
from ..runs.recipe import Recipe, load_recipe
from .settings import ANY_SETTING, RECIPE


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "evolve",
        help="evolve templates for the hard samples of a fixed policy",
        description=f"Draws a group of each training sample, evolves templates on the hard ones. {ANY_SETTING}",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", help=RECIPE)
    parser.add_argument(
        "--explain", action="store_true", help="of each accepted template: what it changed, and on which samples"
    )
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Draws bare groups, evolves templates on the hard samples, and writes the pool."""
    recipe = load_recipe(args.recipe, settings, args.options)
    run_dir = Path(recipe.training.output_dir)
    with claimed_for_evolution(run_dir):
        _evolve(recipe, run_dir, args.explain)
    return 0


def _evolve(recipe: Recipe, run_dir: Path, explain: bool) -> None:
    from ..analysis.explain import explained
    from ..core.cost import CostMeter, without_false_zeros
    from ..core.evolve import Evolution
    from ..core.loop import JointLoop
    from ..runs.building import rewards_of, samples_of
    from ..runs.fixed_policy import fixed_policy

    training = recipe.training
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    policy = fixed_policy(recipe, str(recipe.model.model_name_or_path), rewards)
    loop = JointLoop(training, {s.id: s for s in samples}, run_dir / "p2o", training.num_generations, training.seed)
    cost = CostMeter()
    console.print(f"drawing {training.num_generations} bare rollouts of {len(samples)} samples")
    groups = policy.draw(samples, training.num_generations, cost)
    summary = policy.prompt_step(
        loop,
        groups,
        cost,
        lambda p: console.print(
            f"iteration {p.iteration}: {p.metric_calls}/{p.budget} rollouts, pool {p.pool}, best {p.best_score:.3f}"
        ),
    )
    console.print(f"{summary.hard} of {len(groups)} samples are hard")
    write_json(run_dir / "p2o" / "cost.json", without_false_zeros(cost.state_dict()))
    if not summary.evolved:
        raise ConfigError(
            f"{summary.hard} hard samples are fewer than hard_min_count {training.hard_min_count}; lower it, or take "
            "harder data"
        )
    pool = pool_from_json(loop.method.pool())
    spent = without_false_zeros(summary.evolve_cost)
    write_json(run_dir / "p2o" / "pool.json", {"pool": pool_to_json(pool), "cost": spent})
    write_text(run_dir / "p2o" / "pool.md", pool_page(pool, summary.dev_size, recipe.name, "on a fixed policy"))
    _print_pool(pool, summary.dev_size, run_dir / "p2o" / "pool.json")
    if explain:
        evolution = read_json(run_dir / "p2o" / f"evolution-{loop.next_epoch - 1:03d}" / "evolution.json")
        for line in explained(Evolution.from_dict(evolution), {s.id: s.question for s in samples}):
            console.print(line)


def _print_pool(pool: Sequence[PoolTemplate], dev_size: int, path: Path) -> None:
    if not any(t.text for t in pool):
        console.print("no template solved any hard sample")
    for template in pool:
        score = f"{percent(template.weight)}, solves {len(template.solves)} of {dev_size}"
        console.print(f"[{score if template.scored else 'not scored'}] {template.text or '(bare)'}")
    console.print(f"the pool is in {path}")
