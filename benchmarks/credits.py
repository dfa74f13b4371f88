"""Which way of distillation learns what a template unlocks? SmolLM2, one answer format each, the template given.

    export OMP_NUM_THREADS=1
    python benchmarks/credits.py --formats boxed,tags,final,lines --credits solved,mask --seeds 3
    python benchmarks/credits.py --formats any --credits grpo --seeds 3
    python benchmarks/credits.py --table

Each cell (format, credit, seed) is one run of ``p2o train``, 5 to 8 minutes on one core; cells that are in
``benchmarks/results/credits.json`` are kept, and a killed run continues. All arms stop at the same cost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from p2o.analysis.statistics import mean_success
from p2o.base.rows import METRICS_FILE, read_rows

HERE = Path(__file__).parent
RESULT = HERE / "results" / "credits.json"
MAX_COST = 150_000
"""Forward-equivalent tokens of each run."""

_SUMS = (
    "reasoning_gym:basic_arithmetic?min_terms=2&max_terms=2&max_digits=1&allow_parentheses=false&allow_negation=false"
)
PLUS = _SUMS + "&operators=('%2B',)"
EQUATION = r"\A\d+ \+ \d+ = \d+\n"
PATTERNS = {
    "lines": EQUATION + r"The result is (\d+)",
    "final": r"\A.*?[Tt]he final answer is:? (\d+)",
    "boxed": r"\A.*?\\boxed\{(\d+)\}",
    "tags": r"\A.*?<answer>\s*(\d+)\s*</answer>",
    "any": r"\A.*?(?:\\boxed\{|[Tt]he final answer is:? |<answer>\s*)(\d+)",
}
"""Where GRPO has no success with ``any``, it has none with boxed, final and tags: nothing is trained, so all of their
rollouts are the same."""
GRPO = {"method": "grpo", "num_train_epochs": 12}
CREDITS: dict[str, dict[str, Any]] = {
    "grpo": GRPO,
    "mask": {"distillation": "mask"},
    "solved": {"distillation": "solved"},
    "no_mask": {"distillation": "no_mask"},
    "positive": {"distillation": "no_mask", "drop_failed_template_rollout": True},
    "solved_positive": {"distillation": "solved", "drop_failed_template_rollout": True},
    "soft": {"distillation": "soft"},
    "shape": {"distillation": "shape"},
    "importance": {"distillation": "importance"},
    "wide_first": {"distillation": "wide_first"},
    "kl": {"distillation": "kl"},
    "none": {"distillation": "none"},
}


def recipe(form: str, credit: str, seed: int) -> dict[str, Any]:
    """The recipe of one cell."""
    return {
        "base": "smollm2",
        "train": f"{PLUS}&size=72&seed=1",
        "test": f"{PLUS}&size=400&seed=2",
        "ood": {},
        "rewards": [{"name": "result", "pattern": PATTERNS[form], "compare": "number"}],
        "num_train_epochs": 4,
        "learning_rate": 7e-4,
        "lr_scheduler_type": "cosine",
        "max_cost": MAX_COST,
        "seed": seed,
        # All that the reflector returns is used, so that no draw of luck decides whether the template is kept.
        "reflector": f"{(HERE / 'given_templates.py').resolve()}:{'boxed' if form == 'any' else form}",
        "pool": "proposals",
        "warm_start": False,
        "evolve_max_iterations": 1,
        "evolve_parents": 2,
        "evolve_budget": "80",
        "hard_min_count": 6,
        "dev_size": 12,
        **CREDITS[credit],
    }


def cells(args: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for form in args.formats.split(","):
            for credit in args.credits.split(","):
                yield form, credit, seed


def train(form: str, credit: str, seed: int, runs: Path) -> dict[str, Any]:
    """Trains one cell; its figures."""
    folder = runs / f"{form}-{credit}-{seed}"
    file = runs / f"{folder.name}.yaml"
    file.write_text(yaml.safe_dump(recipe(form, credit, seed)), encoding="utf-8")
    command = ["p2o", "train", str(file), "--output_dir", str(folder), "--if_exists", "resume"]
    with (runs / f"{folder.name}.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    result = json.loads((folder / "p2o" / "result.json").read_text())
    steps = [row for row in read_rows(folder / "p2o" / METRICS_FILE) if "reward" in row]
    return {
        "format": form,
        "credit": credit,
        "seed": seed,
        "outcomes": result["outcomes"]["test"],
        "before": result["before"]["test_bare_success"],
        "after": result["after"]["test_bare_success"],
        "cost": steps[-1]["p2o/cost"],
        "seconds": result["seconds"],
        "bare_by_step": [row.get("p2o/bare_success") for row in steps],
        "templated_by_step": [row.get("p2o/templated_success") for row in steps],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The cells as Markdown; intervals are over seeds and questions."""
    lines = ["| format | way | seeds | held-out bare success (95 %) | worst–best seed | cost (M) |"]
    lines.append("|---|---|---|---|---|---|")
    for form, credit in dict.fromkeys((row["format"], row["credit"]) for row in rows):
        own = [row for row in rows if (row["format"], row["credit"]) == (form, credit)]
        found = mean_success({row["seed"]: row["outcomes"] for row in own})
        low, high = found.interval
        after = [row["after"] for row in own]
        lines.append(
            f"| {form} | {credit} | {len(own)} | {found.mean:.1%} [{100 * low:.1f}, {100 * high:.1f}] "
            f"| {100 * min(after):.1f}–{100 * max(after):.1f} | {sum(r['cost'] for r in own) / len(own) / 1e6:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/credits"))
    parser.add_argument("--formats", default=",".join(PATTERNS))
    parser.add_argument("--credits", default="mask,solved")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the cells that are there; train nothing")
    args = parser.parse_args()
    if args.table:
        print(table(json.loads(args.out.read_text())))
        return
    args.runs.mkdir(parents=True, exist_ok=True)
    for cell in cells(args):
        rows = json.loads(args.out.read_text()) if args.out.exists() else []
        if any((row["format"], row["credit"], row["seed"]) == cell for row in rows):
            continue
        row = train(*cell, args.runs)
        print(cell, f"{row['before']:.1%} → {row['after']:.1%} at {row['cost'] / 1e6:.3f} M, {row['seconds']:.0f} s")
        sys.stdout.flush()
        args.out.write_text(json.dumps([*rows, row], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
