"""Evolution beside training (``evolve_beside``): seconds, cost and accuracy of the quickstart with and without it.

    export OMP_NUM_THREADS=1
    python benchmarks/beside.py --seeds 0 1 2

Both processes have one thread each; the machine needs two idle cores. The whole command is timed by the clock, from its
start. Arms:

now       the recipe as it is
beside    with evolve_beside, the same number of epochs (one of them fewer has templates)
longer    with evolve_beside, one epoch more (as many epochs have templates)
heavy     the recipe with evolutions that take as long as an epoch (--evolve_budget 6000, no limit of iterations)
heavy_beside  the same with evolve_beside, one epoch more

Each run is written to `benchmarks/results/beside.json` when it ends, and is not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from seconds import GOAL, KEY, watched

RESULT = Path(__file__).parent / "results" / "beside.json"
BESIDE = ["--evolve_beside", "true"]
LONGER = ["--num_train_epochs", "5"]
HEAVY = ["--evolve_budget", "6000", "--evolve_max_iterations", "null"]
ARMS = {
    "now": [],
    "beside": BESIDE,
    "longer": [*BESIDE, *LONGER],
    "heavy": HEAVY,
    "heavy_beside": [*HEAVY, *BESIDE, *LONGER],
}
DEFAULT = ("now", "beside", "longer")


def measured(arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run: seconds by the clock, cost, bare success on the hard sums."""
    marks = watched(["quickstart", "--seed", str(seed), *ARMS[arm]], folder)
    own = folder / "p2o"
    result = json.loads((own / "result.json").read_text())
    summaries = [json.loads(file.read_text())["summary"] for file in sorted(own.glob("epoch-*.json"))]
    return {
        "seconds": marks["whole"][1],
        "cpu_seconds": marks["whole"][0],
        "seconds_to_80": marks["reached"][1] if "reached" in marks else None,
        "cost": result["cost"]["training_cost"],
        "cost_to_80": cost_at_goal(own / "metrics.jsonl"),
        "seconds_by_phase": {n: round(c["seconds"], 2) for n, c in result["cost"].items() if isinstance(c, dict)},
        "hard": result["after"]["test_bare_success_hard"],
        "evaluations": marks["evaluations"],
        "evolved": [summary["evolved"] for summary in summaries],
        "templated": [summary["templated_next"] for summary in summaries],
    }


def cost_at_goal(file: Path) -> float | None:
    """The training's cost at the first evaluation that reaches the goal."""
    cost = 0.0
    for row in map(json.loads, file.read_text().splitlines()):
        cost = max(cost, row.get("p2o/cost", 0.0))
        if row.get(KEY, 0.0) >= GOAL:
            return cost
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=DEFAULT)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for arm in options.arms:
            runs = found.setdefault(arm, {})
            if str(seed) not in runs:
                with tempfile.TemporaryDirectory() as folder:
                    runs[str(seed)] = measured(arm, seed, Path(folder) / "run")
                options.out.write_text(json.dumps(found, indent=1) + "\n")
                print(arm, seed, runs[str(seed)], flush=True)


if __name__ == "__main__":
    main()
