"""The rules of withdrawal in the strict world: cost to 80 % bare success, and how often help goes and comes back.

    python benchmarks/withdrawal.py --seeds 5
    python benchmarks/withdrawal.py --seeds 5 --report

Each run is the quickstart with one rule (``solved`` with no bare slot, as in the paper), for six epochs, with an
evaluation on the dev sums every eight steps. Runs that are in the result file already are kept. ``--recipe rare`` takes
another recipe; more settings follow as in ``p2o train``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2o.base.markdown import table

RESULT = Path(__file__).parent / "results" / "withdrawal.json"
RULES = ("solved", "graduated", "smoothed")
TARGET = 0.80


def one_run(recipe: str, rule: str, seed: int, words: Sequence[str]) -> dict[str, Any]:
    """Trains one rule to the end."""
    from transformers import TrainerCallback

    from p2o.runs.building import trainer_of
    from p2o.runs.reading import setting_words
    from p2o.runs.recipe import load_recipe

    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": folder,
            "seed": seed,
            "withdrawal": rule,
            "num_train_epochs": 6,
            "eval_strategy": "steps",
            "eval_steps": 8,
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        trainer = trainer_of(load_recipe(recipe, [*setting_words(settings), *words]))
        curve: list[tuple[float, float]] = []
        key = "eval_bare_success_hard" if recipe == "quickstart" else "eval_bare_success"

        class Curve(TrainerCallback):
            def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
                curve.append((trainer.global_cost().training_cost, metrics[key]))

        trainer.add_callback(Curve())
        trainer.train()
        logged = [row for row in trainer.state.log_history if "p2o/returned" in row]
        return {
            "rule": rule,
            "seed": seed,
            "cost to 80 %": next((cost for cost, success in curve if success >= TARGET), None),
            "returned": sum(row["p2o/returned"] for row in logged),
            "evolutions": sum("p2o/pool" in row for row in logged),
            "end": curve[-1][1],
            "cost": trainer.global_cost().training_cost,
            "curve": [[round(cost), round(success, 4)] for cost, success in curve],
        }


def report(found: dict[str, Any]) -> str:
    rows = []
    for rule in RULES:
        own = [row for row in found.values() if row["rule"] == rule]
        if own:
            costs = sorted(row["cost to 80 %"] or float("inf") for row in own)
            said = ", ".join("never" if cost == float("inf") else f"{cost / 1e6:.2f}" for cost in costs)
            rows.append([
                f"`{rule}`",
                said,
                "never" if statistics.median(costs) == float("inf") else f"{statistics.median(costs) / 1e6:.2f} M",
                f"{sum(row['returned'] for row in own) / len(own):.1f}",
                f"{sum(row['evolutions'] for row in own) / len(own):.1f}",
                f"{sum(row['end'] for row in own) / len(own):.1%}",
                f"{sum(row['cost'] for row in own) / len(own) / 1e6:.2f} M",
            ])  # fmt: skip
    head = ["rule", "cost to 80 % (M), each seed", "median", "returns", "evolutions", "dev at the end", "cost"]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--rules", default=",".join(RULES), help="comma-separated")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="only print what is in the file")
    args, words = parser.parse_known_args()
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    if not args.report:
        for seed in range(args.seeds):
            for rule in args.rules.split(","):
                if f"{rule} {seed}" not in found:
                    found[f"{rule} {seed}"] = row = one_run(args.recipe, rule, seed, words)
                    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                    print({k: v for k, v in row.items() if k != "curve"}, flush=True)
    print(report(found))


if __name__ == "__main__":
    main()
