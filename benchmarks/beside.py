"""Evolution beside training (``evolve_beside``): seconds, cost and accuracy of a recipe with and without it.

    export OMP_NUM_THREADS=1
    python benchmarks/beside.py --seeds 0 1 2
    python benchmarks/beside.py --seeds 0 1 2 --recipe rare

Both processes have one thread each; the machine needs two idle cores. The whole command is timed by the clock, from its
start. Arms:

now       the recipe as it is
beside    with evolve_beside, the same number of epochs (one of them fewer has templates)
longer    with evolve_beside, one epoch more (as many epochs have templates)

The evolutions of the recipe ``rare`` take longer than its epochs. Each run is written to
`benchmarks/results/beside.json` when it ends, and is not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from seconds import GOAL, watched

RESULT = Path(__file__).parent / "results" / "beside.json"
BESIDE = ["--evolve_beside", "true"]
EPOCHS = {"quickstart": 4, "rare": 6}
ARMS = ("now", "beside", "longer")


def words_of(recipe: str, arm: str) -> list[str]:
    """What an arm changes in its recipe."""
    longer = ["--num_train_epochs", str(EPOCHS[recipe] + 1)] if arm == "longer" else []
    return [] if arm == "now" else [*BESIDE, *longer]


def measured(recipe: str, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run: seconds by the clock, cost, bare success on the hard samples."""
    level = "_hard" if recipe == "quickstart" else ""  # all of the other's samples are hard
    key = f"eval_bare_success{level}"
    marks = watched([recipe, "--seed", str(seed), *words_of(recipe, arm)], folder, key)
    own = folder / "p2o"
    result = json.loads((own / "result.json").read_text())
    summaries = [json.loads(file.read_text())["summary"] for file in sorted(own.glob("epoch-*.json"))]
    return {
        "seconds": marks["whole"][1],
        "cpu_seconds": marks["whole"][0],
        "seconds_to_80": marks["reached"][1] if "reached" in marks else None,
        "cost": result["cost"]["training_cost"],
        "cost_to_80": cost_at_goal(own / "metrics.jsonl", key),
        "seconds_by_phase": {n: round(c["seconds"], 2) for n, c in result["cost"].items() if isinstance(c, dict)},
        "hard": result["after"][f"test_bare_success{level}"],
        "evaluations": marks["evaluations"],
        "evolved": [summary["evolved"] for summary in summaries],
        "templated": [summary["templated_next"] for summary in summaries],
    }


def cost_at_goal(file: Path, key: str) -> float | None:
    """The training's cost at the first evaluation that reaches the goal."""
    cost = 0.0
    for row in map(json.loads, file.read_text().splitlines()):
        cost = max(cost, row.get("p2o/cost", 0.0))
        if row.get(key, 0.0) >= GOAL:
            return cost
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--recipe", choices=EPOCHS, default="quickstart")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for arm in options.arms:
            runs = found.setdefault(arm if options.recipe == "quickstart" else f"{options.recipe} {arm}", {})
            if str(seed) not in runs:
                with tempfile.TemporaryDirectory() as folder:
                    runs[str(seed)] = measured(options.recipe, arm, seed, Path(folder) / "run")
                options.out.write_text(json.dumps(found, indent=1) + "\n")
                print(options.recipe, arm, seed, runs[str(seed)], flush=True)


if __name__ == "__main__":
    main()
