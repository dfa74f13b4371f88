"""``p2o evolve``: templates for the hard samples of a fixed policy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..base.files import write_json, write_text
from ..base.terminal import console, percent
from ..core.templates import PoolTemplate, make_pool, pool_to_json
from ..errors import ConfigError
from ..runs.claim import make_run_dir
from ..runs.model_card import pool_page
from ..runs.recipe import load_recipe
from .settings import ANY_SETTING


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "evolve",
        help="evolve templates for the hard samples of a fixed policy",
        description=f"Draws a group of each training sample, evolves templates on the hard ones. {ANY_SETTING}",
        allow_abbrev=False,
    )
    parser.add_argument("recipe")
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Draws bare groups, evolves templates on the hard samples, and writes the pool."""
    recipe = load_recipe(args.recipe, settings)
    from ..core.cost import CostMeter, Made
    from ..core.evolve import evolve as run_evolution
    from ..core.hard import HardLedger, split_hard
    from ..core.loop import evolve_config
    from ..generation.policies import policy_of, reflector_with, rollout_fn, seed_everything, successes
    from ..reflectors.settings import LOCAL
    from ..runs.building import rewards_of, samples_of

    training = recipe.training
    run_dir = Path(training.output_dir)
    make_run_dir(run_dir)
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    policy = policy_of(recipe, str(recipe.model.model_name_or_path))
    reflector = reflector_with(recipe, policy)
    length = training.max_completion_length
    seed_everything(training.seed)
    cost, drawn_made = CostMeter(), Made()
    console.print(f"drawing {training.num_generations} bare rollouts of {len(samples)} samples")
    ledger = HardLedger(training.success_threshold)
    with cost.timed("rollout") as rollout:
        draw = rollout_fn(policy, rewards, training.temperature, length)
        drawn = successes(lambda pairs: drawn_made.rolled_out(draw(pairs)), samples, training.num_generations)
    rollout.add(
        rollouts=drawn_made.rollouts,
        prompt_tokens=drawn_made.prompt_tokens,
        generated_tokens=drawn_made.generated_tokens,
    )
    for sample_id, rows in drawn.items():
        ledger.record(sample_id, [training.success_threshold if r.solved else float("-inf") for r in rows])
    hard = ledger.hard_ids(training.tau - 1)
    console.print(f"{len(hard)} of {len(samples)} samples are hard")
    if len(hard) < training.hard_min_count:
        raise ConfigError(
            f"{len(hard)} hard samples are fewer than hard_min_count {training.hard_min_count}; lower it, or take "
            "harder data"
        )
    by_id = {s.id: s for s in samples}
    import random

    random.Random(training.seed).shuffle(hard)
    train_ids, dev_ids = split_hard(hard, training.dev_size)
    with cost.timed("evolve"):
        result = run_evolution(
            [by_id[i] for i in train_ids],
            [by_id[i] for i in dev_ids],
            rollout_fn(policy, rewards, training.evolve_temperature, length),
            reflector,
            evolve_config(training, training.seed),
            run_dir / "p2o" / "evolution-000",
            progress=lambda p: console.print(
                f"iteration {p.iteration}: {p.metric_calls}/{p.budget} rollouts, pool {p.pool}, best {p.best_score:.3f}"
            ),
        )
    Made().add_replayed(cost, asdict(result.cost), teacher=recipe.task.reflector not in LOCAL)
    write_json(run_dir / "p2o" / "cost.json", cost.state_dict())
    pool = make_pool(result.templates, result.scores_CV, result.solved_CV, result.dev_ids)
    write_json(run_dir / "p2o" / "pool.json", {"pool": pool_to_json(pool), "cost": asdict(result.cost)})
    write_text(run_dir / "p2o" / "pool.md", pool_page(pool, len(dev_ids), recipe.name, "on a fixed policy"))
    _print_pool(pool, len(dev_ids), run_dir / "p2o" / "pool.json")
    return 0


def _print_pool(pool: Sequence[PoolTemplate], dev_size: int, path: Path) -> None:
    if not any(t.text for t in pool):
        console.print("no template solved any hard sample")
    for template in pool:
        console.print(f"[{percent(template.weight)}, solves {len(template.solves)} of {dev_size}] "
                      f"{template.text or '(bare)'}")  # fmt: skip
    console.print(f"the pool is in {path}")
