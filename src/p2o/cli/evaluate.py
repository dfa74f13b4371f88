"""``p2o eval``: a model on a recipe's test data, bare and under templates."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import read_json, write_text
from ..base.terminal import console
from ..core.samples import Sample
from ..core.templates import PoolTemplate, pool_from_json
from ..errors import ConfigError
from ..runs.recipe import load_recipe
from .settings import ANY_SETTING, RECIPE
from .tables import difference_line, evaluation_table

if TYPE_CHECKING:
    from ..analysis.evaluation import Evaluation
    from ..runs.run_directory import Epoch


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "eval",
        help="evaluate a model on a recipe's test data",
        description=f"Evaluates a model, bare: mean@k, pass@k and greedy accuracy, with intervals. {ANY_SETTING}",
        allow_abbrev=False,
    )
    parser.add_argument("model", help="a checkpoint folder, a LoRA adapter, a hub name, or builtin:sandbox")
    parser.add_argument("recipe", help=RECIPE)
    parser.add_argument("--draws", type=int, default=1, help="rollouts per sample (default 1)")
    parser.add_argument("--temp", type=float, default=None, help="default: greedy for 1 draw, else the recipe's")
    parser.add_argument("--pool", help="also evaluate under the templates of this pool file, or of a run directory: "
                        "then hint reliance too, on the samples that needed a template")  # fmt: skip
    parser.add_argument("--out", help="write the figures to this JSON file")
    parser.set_defaults(run=run, takes_settings=True)


def run(args: argparse.Namespace, settings: Sequence[str]) -> int:
    """Evaluates, prints the table and writes the figures."""
    recipe = load_recipe(args.recipe, settings, args.options)
    draws: int = args.draws
    if draws < 1:
        raise ConfigError(f"--draws is {draws}; it must be at least 1")
    default = 0.0 if draws == 1 else recipe.training.temperature
    temperature: float = default if args.temp is None else args.temp
    if not 0 <= temperature <= 100:
        raise ConfigError(f"--temp is {temperature}; it must be from 0 to 100")
    from ..analysis.evaluation import best_slots, evaluate_policy, template_effect, template_history
    from ..runs.building import rewards_of, samples_of
    from ..runs.fixed_policy import fixed_policy

    training = recipe.training
    samples, rewards = samples_of(recipe, "test"), rewards_of(recipe)
    rewards.check_gold(samples)
    templates, epochs = _read_pool(Path(args.pool)) if args.pool else ([], [])
    policy = fixed_policy(recipe, args.model, rewards)

    def evaluated(part: Sequence[Sample], slots: Mapping[str, Sequence[str]] | None = None) -> Evaluation:
        greedy = policy.roll_out(0.0) if temperature else None
        column = training.eval_group_column
        return evaluate_policy(policy.roll_out(temperature), part, draws, temperature, slots, column, greedy)

    rows = [("bare", evaluated(samples))]
    figures: dict[str, Any] = {"model": args.model, "recipe": recipe.name, "data": recipe.task.test}
    lines = []
    if templates:
        rows.append(("with templates", evaluated(samples, best_slots(samples, templates, draws, training.seed))))
        change = template_effect(rows[0][1].per_sample, rows[1][1].per_sample)
        figures["templated_minus_bare"] = asdict(change) if change else None
        lines.append(difference_line("with templates, minus bare", change))
    past = template_history(epochs)
    needed = [s for s in samples_of(recipe, "train") if s.id in past.templates] if past.templates else []
    if needed:
        rows += [("once hard: bare", evaluated(needed)), ("  with templates", evaluated(needed, past.templates))]
        pair = rows[-2][1].per_sample, rows[-1][1].per_sample
        reliance, change = template_effect(*pair), template_effect(*pair, past.graduated)
        figures["needed"] = {
            "bare": asdict(rows[-2][1]),
            "templated": asdict(rows[-1][1]),
            "hint_reliance": asdict(reliance) if reliance else None,
            "context_induced_change": asdict(change) if change else None,
            "over_time": past.over_time,
        }
        lines.append(difference_line("hint reliance (training samples that needed a template)", reliance))
        lines.append(difference_line("context-induced change (those that graduated)", change))
    figures |= {"bare": asdict(rows[0][1])} | ({"templated": asdict(rows[1][1])} if templates else {})
    console.print(evaluation_table(f"{args.model} on {recipe.task.test}", rows))
    for label, e in rows:
        if e.no_room:
            total = e.samples + e.no_room
            lines.append(f"{label.strip()}: {e.no_room} of {total} prompts leave no room for a completion; not counted")
    for line in filter(None, lines):
        console.print(line)
    if needed and past.over_time:
        steps = ", ".join(f"{p['epoch']}: {100 * p['difference']:+.0f}" for p in past.over_time)
        console.print(f"hint reliance in training, points by epoch: {steps}")
    if args.out:
        write_text(Path(args.out), json.dumps(figures, indent=1, ensure_ascii=False))
        console.print(f"the figures are in {args.out}")
    return 0


def _read_pool(path: Path) -> tuple[list[PoolTemplate], list[Epoch]]:
    """(templates, epochs): of a run directory its last pool and all epochs, of a pool file the pool alone."""
    from ..runs.run_directory import read_run

    if path.is_dir():
        epochs = read_run(path).epochs
        pools = [epoch.pool for epoch in epochs if any(t["text"] for t in epoch.pool)]
    else:
        epochs, pools = [], [read_json(path).get("pool", [])]
    templates = [t for t in pool_from_json(pools[-1] if pools else []) if t.text]
    if not templates:
        raise ConfigError(f"there is no template in {path}; give a run directory or a pool file of p2o evolve")
    return templates, epochs
