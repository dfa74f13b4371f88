"""Which way of distillation learns what a template unlocks? SmolLM2, one answer format each, the template given.

    export OMP_NUM_THREADS=1
    python benchmarks/credits.py --formats boxed,tags,final,lines --credits solved,mask --seeds 3
    python benchmarks/credits.py --formats any --credits grpo --seeds 3
    python benchmarks/credits.py --table

    python benchmarks/credits.py --formats lines --seeds 3 --by-epoch --out runs/by-epoch.json
    python benchmarks/credits.py --jobs 8 --use_cpu false                             # on a GPU

Each cell (format, credit, seed) is one run of ``p2o train``, 5 to 8 minutes on one core; cells that are in
``benchmarks/results/credits.json`` are kept, and a killed run continues. All arms stop at the same cost. Further
options are given to ``p2o train``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

from p2o.analysis.statistics import mean_success
from p2o.base.rows import METRICS_FILE, read_rows

Cell = tuple[str, str, int]
"""Format, credit, seed."""
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
    "constant": {"lr_scheduler_type": "constant", "learning_rate": 5e-4},
    "scaled": {"lr_scheduler_type": "constant", "learning_rate": 5e-4, "scale_steps": True},
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


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for form in args.formats.split(","):
            for credit in args.credits.split(","):
                yield form, credit, seed


def train(cell: Cell, folder: Path, options: Sequence[str], by_epoch: bool) -> dict[str, Any]:
    """Trains one cell; its figures."""
    form, credit, seed = cell
    file = folder.with_suffix(".yaml")
    settings = recipe(form, credit, seed)
    if by_epoch:
        settings |= {"eval": settings["test"], "eval_strategy": "epoch"}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["p2o", "train", str(file), "--output_dir", str(folder), "--if_exists", "resume", *options]
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    result = json.loads((folder / "p2o" / "result.json").read_text())
    rows = read_rows(folder / "p2o" / METRICS_FILE)
    steps = [row for row in rows if "reward" in row]
    return {
        "format": form,
        "credit": credit,
        "seed": seed,
        "outcomes": result["outcomes"]["test"],
        "before": result["before"]["test_bare_success"],
        "after": result["after"]["test_bare_success"],
        "cost": steps[-1]["p2o/cost"],
        "seconds": result["seconds"],
        "by_epoch": [row["eval_bare_success"] for row in rows if "eval_bare_success" in row],
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
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--by-epoch", action="store_true", help="evaluate on the test sums after each epoch")
    parser.add_argument("--table", action="store_true", help="print the cells that are there; train nothing")
    args, options = parser.parse_known_args()
    if args.table:
        print(table(json.loads(args.out.read_text())))
        return
    args.runs.mkdir(parents=True, exist_ok=True)
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    there = {(row["format"], row["credit"], row["seed"]) for row in rows}
    with ThreadPoolExecutor(args.jobs) as pool:
        left = [cell for cell in cells(args) if cell not in there]
        made = {
            pool.submit(train, cell, args.runs / "-".join(map(str, cell)), options, args.by_epoch): cell
            for cell in left
        }
        for future in as_completed(made):
            cell, row = made[future], future.result()
            cost, seconds = row["cost"] / 1e6, row["seconds"]
            print(cell, f"{row['before']:.1%} → {row['after']:.1%} at {cost:.3f} M, {seconds:.0f} s", flush=True)
            rows.append(row)
            args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
