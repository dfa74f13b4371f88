"""How many rollouts does an evolution take to its best template? Both ways of comparing, on a policy before training.

    export OMP_NUM_THREADS=1
    python benchmarks/evolution_search.py --arms minibatch,race --seeds 0,1,2,3,4
    python benchmarks/evolution_search.py --table

One evolution on the hard samples of the quickstart's world (``level`` "hard": their bare success is 0.0001 %), with the
recipe's reflector and budget. Told are the best mean dev score, the dev samples that the pool solves, and the rollouts
after which the final score of ``minibatch`` was reached. Cells that are in ``benchmarks/results/evolution-search.json``
are kept.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from p2o.core.evolve import EvolveProgress, evolve
from p2o.core.hard import split_hard
from p2o.core.methods.evolving import evolve_config
from p2o.reflectors.building import build_reflector
from p2o.runs.building import rewards_of, samples_of
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import load_recipe

RESULT = Path(__file__).parent / "results" / "evolution-search.json"
PAPER = {"evolve_search": "minibatch", "evolve_patience": None}
ARMS: dict[str, dict[str, Any]] = {
    "minibatch": {**PAPER, "evolve_max_iterations": None},
    "minibatch_6": {**PAPER, "evolve_max_iterations": 6},
    "race": {"evolve_search": "race", "evolve_patience": 2, "evolve_max_iterations": None},
}


def evolution(arm: str, seed: int) -> dict[str, Any]:
    """One evolution before training."""
    recipe = load_recipe("quickstart", ["--seed", str(seed)])
    training = replace_settings(recipe.training, ARMS[arm])
    hard = [s for s in samples_of(recipe, "train") if s.columns["level"] == "hard"]
    random.Random(seed).shuffle(hard)
    train, dev = split_hard([s.id for s in hard], training.dev_size)
    by_id = {s.id: s for s in hard}
    policy = fixed_policy(recipe, str(recipe.model.model_name_or_path), rewards_of(recipe))
    reflector = build_reflector(recipe.task)
    assert not isinstance(reflector, str)
    curve: list[EvolveProgress] = []
    with tempfile.TemporaryDirectory() as folder:
        e = evolve(
            [by_id[i] for i in train], [by_id[i] for i in dev], policy.roll_out(training.evolve_temperature), reflector,
            evolve_config(training, training.num_generations, seed), Path(folder), curve.append,
        )  # fmt: skip
    return {
        "arm": arm, "seed": seed, "rollouts": e.cost.metric_calls, "best": round(e.best_scores[-1], 4),
        "dev": len(dev), "covered": sum(any(column) for column in zip(*e.solved_CV, strict=True)),
        "stopped": e.stopped, "proposals": len(e.candidates) - 1, "generation_calls": e.cost.generation_calls,
        "curve": [[p.metric_calls, round(p.best_score, 4)] for p in curve],
    }  # fmt: skip


def replace_settings(training: Any, settings: dict[str, Any]) -> Any:
    """The settings with other values; a plain assignment, because all are checked already."""
    for name, value in settings.items():
        setattr(training, name, value)
    return training


def measure(arms: list[str], seeds: list[int]) -> None:
    """Makes the evolutions that are not in the result yet."""
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text()) if RESULT.exists() else []
    for seed in seeds:
        for arm in arms:
            if not any((row["arm"], row["seed"]) == (arm, seed) for row in rows):
                rows.append(evolution(arm, seed))
                rows.sort(key=lambda row: (list(ARMS).index(row["arm"]), row["seed"]))
                RESULT.write_text("[" + ",\n".join(map(json.dumps, rows)) + "]\n")


def table() -> str:
    """The result as markdown."""
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text())
    final = {row["seed"]: row["best"] for row in rows if row["arm"] == "minibatch"}
    lines = [
        "| compared by | seed | proposals | rollouts | calls | best dev score | solved by the pool | rollouts to the "
        "score of `minibatch` | stopped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        reached = next((str(spent) for spent, best in row["curve"] if best >= final.get(row["seed"], 2)), "never")
        lines.append(
            f"| {row['arm']} | {row['seed']} | {row['proposals']} | {row['rollouts']} | {row['generation_calls']} "
            f"| {row['best']:.1%} | {row['covered']} of {row['dev']} | {reached} | {row['stopped']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default=",".join(ARMS), type=lambda text: text.split(","))
    parser.add_argument("--seeds", default="0,1,2,3,4", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--table", action="store_true", help="print the result and measure nothing")
    args = parser.parse_args()
    if not args.table:
        measure(args.arms, args.seeds)
    print(table())


if __name__ == "__main__":
    main()
