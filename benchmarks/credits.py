r"""What learns an answer format that the bare prompt never shows? SmolLM2, one format each, at equal cost.

    export OMP_NUM_THREADS=1
    python benchmarks/credits.py --formats boxed,tags,final,lines --ways solved,mask --seeds 3
    python benchmarks/credits.py --formats boxed,lines --ways grpo,dapo,scaf,luffy --seeds 3
    python benchmarks/credits.py --ways solved,mask --templates evolved --seeds 3
    python benchmarks/credits.py --formats boxed --ways solved,nearest --templates offered --seeds 5
    python benchmarks/credits.py --formats lines --ways solved,half_rate,constant,cosine --seeds 3 --by-epoch
    python benchmarks/credits.py --ways solved,mask --seeds 3 --out benchmarks/results/credits-cosine.json \
        --lr_scheduler_type cosine --learning_rate 7e-4 --num_train_epochs 4 --scale_steps false
    python benchmarks/credits.py --table

    python benchmarks/credits.py --jobs 16 --use_cpu false --save_strategy no            # on a GPU

``--templates given``: two worked examples are given, so that evolution's own luck does not hide the difference between
ways of distillation. ``evolved``: an evolution writes them, out of general phrases and of what the feedback says about
the format. ``offered``: the reflector writes the examples once in an evolution, and else a phrase that does not help.
The way ``nearest`` is ``solved`` with ``template_worth: solution``, so it reads the solutions too.
Methods without templates have ``none``; each training question has a solution for those that need one.

Each cell is one run of ``p2o train``, 5 to 8 minutes on one core. All stop at the same cost. Cells that are in the
file of ``--out`` are kept, and a killed run continues. Further options are given to ``p2o train``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from given_templates import FORMS, examples
from p2o.analysis.statistics import mean_success
from p2o.base.rows import METRICS_FILE, read_rows
from p2o.data import load_samples


class Cell(NamedTuple):
    """One run."""

    form: str
    way: str
    templates: str
    seed: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> Cell:
        """The cell of a row of the results."""
        return cls(row["format"], row["way"], row["templates"], row["seed"])


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

_OTHERS = {"num_train_epochs": 12, "scale_steps": False, "learning_rate": 5e-4}
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"method": "grpo", **_OTHERS},
    "dapo": {"method": "dapo", **_OTHERS},
    "scaf": {"method": "scaf", **_OTHERS},
    "scaf_sft": {"method": "scaf_sft", **_OTHERS},
    "luffy": {"method": "luffy", **_OTHERS},
}
"""Without templates; the rate is half of that of the recipe, which shortens its steps."""
_DISTILLATIONS = ("mask", "solved", "no_mask", "soft", "shape", "importance", "wide_first", "kl", "none")
WAYS: dict[str, dict[str, Any]] = {
    **METHODS,
    **{name: {"distillation": name} for name in _DISTILLATIONS},
    "positive": {"distillation": "no_mask", "drop_failed_template_rollout": True},
    "solved_positive": {"distillation": "solved", "drop_failed_template_rollout": True},
    "nearest": {"template_worth": "solution"},
    "half_rate": {"learning_rate": 5e-4, "num_train_epochs": 4},
    "constant": {"learning_rate": 5e-4, "scale_steps": False, "num_train_epochs": 4},
    "cosine": {"lr_scheduler_type": "cosine", "learning_rate": 7e-4, "scale_steps": False, "num_train_epochs": 4},
}
# All that the reflector returns is used, so that no draw of luck decides whether the template is kept.
_GIVEN = {
    "pool": "proposals", "warm_start": False, "evolve_max_iterations": 1, "evolve_parents": 2, "evolve_budget": "80",
    "hard_min_count": 6, "dev_size": 12,
}  # fmt: skip


def recipe(cell: Cell, data: Path) -> dict[str, Any]:
    """The recipe of one cell; ``data``: the training questions, with solutions."""
    settings: dict[str, Any] = {
        "base": "smollm2",
        "train": str(data),
        "test": f"{PLUS}&size=400&seed=2",
        "ood": {},
        "rewards": [{"name": "result", "pattern": PATTERNS[cell.form], "compare": "number"}],
        "max_cost": MAX_COST,
        "seed": cell.seed,
        **WAYS[cell.way],
    }
    form = "boxed" if cell.form == "any" else cell.form
    if cell.templates == "given":
        settings |= {"reflector": f"{HERE.resolve() / 'given_templates.py'}:{form}", **_GIVEN}
    elif cell.templates == "offered":
        settings |= {"reflector": f"{HERE.resolve() / 'given_templates.py'}:{form}_once"}
    elif cell.templates == "evolved":
        shown = examples(form)
        settings["rewards"][0]["describe"] = shown[:1].lower() + shown[1:]
    return settings


def write_data(form: str, folder: Path) -> Path:
    """The training questions as a JSON lines file, with solutions in this format."""
    rows = []
    for sample in load_samples(f"{PLUS}&size=72&seed=1"):
        question = sample.messages[-1]["content"]
        steps = [f"{question.removeprefix('Calculate ').rstrip('.')} = {sample.answer}"]
        steps.append(FORMS["boxed" if form == "any" else form].format(sample.answer))
        solution = {"solution": "\n".join(steps), "solution_steps": steps}
        rows.append({"id": sample.id, "prompt": question, "answer": sample.answer, **solution})
    file = folder / f"train-{form}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file.resolve()


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """The wanted cells, seed by seed."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for form in args.formats.split(","):
            for way in args.ways.split(","):
                yield Cell(form, way, "none" if way in METHODS else args.templates, seed)


def train(cell: Cell, folder: Path, options: Sequence[str], by_epoch: bool) -> dict[str, Any]:
    """Trains one cell; its figures."""
    name = "-".join(map(str, cell))
    file, out = folder / f"{name}.yaml", folder / name
    settings = recipe(cell, folder.resolve() / f"train-{cell.form}.jsonl")
    if by_epoch:
        settings |= {"eval": settings["test"], "eval_strategy": "epoch"}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = ["p2o", "train", str(file), "--output_dir", str(out), "--if_exists", "resume", *options]
    with (folder / f"{name}.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    result = json.loads((out / "p2o" / "result.json").read_text())
    rows = read_rows(out / "p2o" / METRICS_FILE)
    steps = [row for row in rows if "reward" in row]
    return {
        "format": cell.form,
        "way": cell.way,
        "templates": cell.templates,
        "seed": cell.seed,
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
    lines = ["| format | way | templates | seeds | held-out bare success (95 %) | worst–best seed | cost (M) |"]
    lines.append("|---|---|---|---|---|---|---|")
    for kind in dict.fromkeys(Cell.of(row)._replace(seed=0) for row in rows):
        own = [row for row in rows if Cell.of(row)._replace(seed=0) == kind]
        found = mean_success({row["seed"]: row["outcomes"] for row in own})
        low, high = found.interval
        after = [row["after"] for row in own]
        lines.append(
            f"| {kind.form} | {kind.way} | {kind.templates} | {len(own)} | {found.mean:.1%} [{100 * low:.1f}, "
            f"{100 * high:.1f}] | {100 * min(after):.1f}–{100 * max(after):.1f} "
            f"| {sum(r['cost'] for r in own) / len(own) / 1e6:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/credits"))
    parser.add_argument("--formats", default=",".join(FORMS))
    parser.add_argument("--ways", default="mask,solved")
    parser.add_argument("--templates", choices=("given", "evolved", "offered"), default="given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--by-epoch", action="store_true", help="evaluate on the test sums after each epoch")
    parser.add_argument("--table", action="store_true", help="print the cells that are there; train nothing")
    args, options = parser.parse_known_args()
    if args.table:
        print(table(sorted(json.loads(args.out.read_text()), key=Cell.of)))
        return
    args.runs.mkdir(parents=True, exist_ok=True)
    for form in args.formats.split(","):
        write_data(form, args.runs)
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    there = {Cell.of(row) for row in rows}
    with ThreadPoolExecutor(args.jobs) as pool:
        left = [cell for cell in cells(args) if cell not in there]
        made = {pool.submit(train, cell, args.runs, options, args.by_epoch): cell for cell in left}
        for future in as_completed(made):
            cell, row = made[future], future.result()
            cost, seconds = row["cost"] / 1e6, row["seconds"]
            print(*cell, f"{row['before']:.1%} → {row['after']:.1%} at {cost:.3f} M, {seconds:.0f} s", flush=True)
            rows.append(row)
            args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
