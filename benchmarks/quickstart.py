"""The quickstart, P²O against plain GRPO at equal cost, several seeds: a JSON file, a table and a picture.

    python benchmarks/quickstart.py --seeds 3

For each seed: `p2o train quickstart`, then the same with `--method grpo` until it has cost as many forward-equivalent
tokens (see `p2o.cost`). Wall time and memory are those of the whole command, start-up included.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "results" / "quickstart.json"
PICTURE = HERE.parent / "docs" / "images" / "quickstart.png"
HARD = "eval_bare_success_hard"


def peak_memory_gib(process: subprocess.Popen[bytes]) -> float:
    """Waits for a process; its peak resident memory in GiB (Linux)."""
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
        except (OSError, IndexError):
            pass
        time.sleep(0.5)
    return peak / 2**20


def run(out: Path, seed: int, method: str, extra: list[str]) -> dict[str, Any]:
    """One training run: seconds, memory, cost, success before and after, and the curve on the way."""
    command = [sys.executable, "-m", "p2o.cli", "train", "quickstart", "--seed", str(seed), "--method", method]
    command += ["--output_dir", str(out), "--disable_tqdm", "true", *extra]
    start = time.perf_counter()
    with (out.parent / f"{out.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        memory = peak_memory_gib(process)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode}), see {out}.log")
    result = json.loads((out / "p2o" / "result.json").read_text())
    log_rows = json.loads((out / "p2o" / "metrics.json").read_text())["log"]
    return {
        "seed": seed,
        "method": method,
        "seconds": round(seconds, 1),
        "memory_gib": round(memory, 2),
        "training_cost": result["cost"]["training_cost"],
        "rollouts": sum(result["cost"][phase]["rollouts"] for phase in ("rollout", "evolve")),
        "hard_before": result["before"]["test_bare_success_hard"],
        "hard_after": result["after"]["test_bare_success_hard"],
        "easy_before": result["before"]["test_bare_success_easy"],
        "easy_after": result["after"]["test_bare_success_easy"],
        "curve": curve(log_rows),
    }


def curve(log_rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """(cost so far, bare success of the hard dev samples) at each evaluation."""
    points, cost = [], 0.0
    for row in log_rows:
        cost = max(cost, row.get("p2o/cost", 0.0))
        if HARD in row:
            points.append((cost, row[HARD]))
    return points


def table(runs: list[dict[str, Any]]) -> str:
    lines = [
        "| method | seed | bare success, hard part: before → after | easy part | training cost (tokens) | rollouts "
        "| seconds | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in runs:
        name = "P²O" if r["method"] == "p2o" else "GRPO, equal cost"
        lines.append(
            f"| {name} | {r['seed']} | {r['hard_before']:.3f} → **{r['hard_after']:.3f}** "
            f"| {r['easy_before']:.2f} → {r['easy_after']:.2f} | {r['training_cost']:,} | {r['rollouts']:,} "
            f"| {r['seconds']:.0f} | {r['memory_gib']:.1f} GiB |"
        )
    return "\n".join(lines)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=140)
    colours = {"p2o": "#2563eb", "grpo": "#9a9a9a"}
    labels = {"p2o": "P²O", "grpo": "GRPO"}
    for method in ("grpo", "p2o"):
        for n, r in enumerate([r for r in runs if r["method"] == method]):
            xs, ys = zip(*r["curve"], strict=True)
            label = labels[method] if n == 0 else None
            axes.plot([x / 1e6 for x in xs], ys, color=colours[method], lw=1.8, marker="o", ms=3, label=label)
    axes.set_xlabel("training cost: millions of forward-equivalent tokens, evolution included")
    axes.set_ylabel("bare held-out success,\nhard sums (greedy)")
    axes.set_ylim(-0.03, 1.03)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="folder for the runs (default: a temporary one)")
    arguments, extra = parser.parse_known_args()
    work = arguments.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in range(arguments.seeds):
        ours = run(work / f"p2o-{seed}", seed, "p2o", extra)
        equal = ["--max_cost", str(ours["training_cost"]), "--num_train_epochs", "1000", *extra]
        theirs = run(work / f"grpo-{seed}", seed, "grpo", equal)
        runs += [ours, theirs]
        print(table(runs), flush=True)
    content = {
        "command": "python benchmarks/quickstart.py --seeds " + str(arguments.seeds),
        "machine": f"{platform.processor() or platform.machine()}, 2 cores",
        "versions": {name: version(name) for name in ("p2o-rl", "torch", "transformers", "trl", "gepa")},
        "runs": runs,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    draw(runs, PICTURE)


if __name__ == "__main__":
    main()
