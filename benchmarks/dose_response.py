"""When is P²O worth its cost? What it costs to reach 80 % bare success, by how often the bare policy succeeds.

    python benchmarks/dose_response.py --worlds runs/worlds --jobs 2

Worlds are sandbox policies that differ in one number: how likely each of the four choices is on the bare prompt. The
shipped one is one of them; the milder ones are built by ``pretrain.py --bare`` when they are not in ``--worlds`` yet
(about 20 minutes for the first, 5 for each other), and each one's bare success is measured by ``calibrate.py``.

Each run trains until 80 % of the bare rollouts on the hard dev sums are right, drawn at the training's temperature as
the starting policy's success is (greedily the mildest world is solved before any training), looked at every half epoch;
or until ``--max-cost``. Runs that are in ``benchmarks/results/dose-response.json`` already are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from p2o.base.markdown import table

HERE = Path(__file__).parent
RESULT = HERE / "results" / "dose-response.json"
PICTURE = HERE.parent / "docs" / "images" / "dose-response.png"
SHIPPED = "0.03"
WORLDS = (SHIPPED, "0.084", "0.155", "0.275", "0.54")
"""Probability of each of the four choices on the bare prompt."""
ARMS = ("grpo", "p2o", "p2o_graduated", "quickstart")
"""The last one is the recipe as it ships; the others train in batches of 16 groups."""
LABELS = dict(zip(ARMS, ("GRPO", "P²O", "P²O, graduated", "P²O as the quickstart runs it"), strict=True))
HALF_EPOCH = 5
"""Steps of 16 groups."""
TARGET = 0.80
KEY = "eval_bare_success_hard"


def one_run(world: str, arm: str, seed: int, max_cost: float, folder: Path) -> dict[str, Any]:
    """Trains one arm until the target or the budget is reached."""
    from transformers import TrainerCallback

    from p2o.analysis.compare.arms import ARMS as KNOWN
    from p2o.analysis.compare.arms import settings_of
    from p2o.runs.building import trainer_of
    from p2o.runs.reading import setting_words
    from p2o.runs.recipe import load_recipe

    large = {"per_device_train_batch_size": 96, "eval_steps": HALF_EPOCH}
    own = {"eval_steps": 4 * HALF_EPOCH}
    settings = {
        **(own if arm == "quickstart" else {**settings_of(KNOWN[arm], load_recipe("quickstart")), **large}),
        "model_name_or_path": world,
        "output_dir": str(folder),
        "seed": seed,
        "num_train_epochs": 1000,
        "max_cost": max_cost,
        "eval_strategy": "steps",
        "eval_temperature": load_recipe("quickstart").training.temperature,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    trainer = trainer_of(load_recipe("quickstart", setting_words(settings)))
    curve: list[tuple[float, int, float]] = []

    class UntilTarget(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            cost = trainer.global_cost()
            curve.append((cost.training_cost, cost.training_rollouts, metrics[KEY]))
            control.should_training_stop = control.should_training_stop or metrics[KEY] >= TARGET

    trainer.add_callback(UntilTarget())
    trainer.train()
    reached = next((point for point in curve if point[2] >= TARGET), None)
    live = 1 - next(row["p2o/no_spread"] for row in trainer.state.log_history if "p2o/no_spread" in row)
    return {
        "arm": arm,
        "seed": seed,
        "cost": reached[0] if reached else None,
        "rollouts": reached[1] if reached else None,
        "live_groups_first_step": live,
        "curve": curve,
    }


def in_a_process(world: str, path: Path, arm: str, seed: int, max_cost: float, folder: Path) -> dict[str, Any]:
    """`one_run` in a process of its own; its policy is at ``path``."""
    target = folder / f"{world}-{arm}-{seed}"
    file = target.with_name(f"{target.name}.json")
    command = [sys.executable, __file__, "--one", str(path), arm, str(seed), str(max_cost), str(target)]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    return {"world": world, **json.loads(file.read_text())}


def policy_of(world: str, worlds: Path) -> Path:
    """The folder of a world's policy; built if it is not there."""
    if world == SHIPPED:
        return Path("builtin:sandbox")
    if not (worlds / world / "model.safetensors").exists():
        script = HERE.parent / "tools" / "sandbox" / "pretrain.py"
        stages = ["--stage-dir", str(worlds / "stages")]
        subprocess.run(
            [sys.executable, str(script), "--bare", world, "--out", str(worlds / world), *stages], check=True
        )
    return worlds / world


def bare_success(world: str, path: Path, worlds: Path) -> float:
    """Probability that a bare rollout of a hard sum is right, measured by the calibration script."""
    file = HERE / "results" / "sandbox-calibration.json" if world == SHIPPED else worlds / world / "calibration.json"
    if not file.exists():
        script = HERE.parent / "tools" / "sandbox" / "calibrate.py"
        command = [sys.executable, str(script), "--policy", str(path), "--out", str(file), "--rollouts", "2000"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return float(json.loads(file.read_text())["bare hard"]["percent_right_by_probability"]["mean"]) / 100


def cost_table(content: dict[str, Any]) -> str:
    lines = []
    for world, success in content["bare_success"].items():
        rows = [r for r in content["runs"] if r["world"] == world]
        if not rows:
            continue
        live = statistics.mean(r["live_groups_first_step"] for r in rows)
        cells = [_cell([r["cost"] for r in rows if r["arm"] == arm]) for arm in ARMS]
        lines.append([f"{100 * success:.2g} %", f"{100 * live:.0f} %", *cells])
    head = ["bare success", "live groups in the first step", *(f"{arm}: cost to 80 %" for arm in ARMS)]
    return table(head, lines)


def _cell(costs: Sequence[float | None]) -> str:
    reached = sorted(c for c in costs if c is not None)
    if not reached:
        return f"never ({len(costs)} seeds)" if costs else "–"
    each = ", ".join(f"{c / 1e6:.2f}" for c in reached)
    return f"{each} M" + (f" ({len(reached)} of {len(costs)} seeds)" if len(reached) < len(costs) else "")


def draw(content: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), dpi=140)
    limit = content["max_cost"]
    for n, (arm, colour) in enumerate(zip(ARMS, ("#9a9a9a", "#2563eb", "#16a34a", "#d97706"), strict=True)):
        medians = []
        for world, success in content["bare_success"].items():
            rows = [r for r in content["runs"] if r["world"] == world and r["arm"] == arm]
            costs = [math.inf if r["cost"] is None else r["cost"] for r in rows]
            if not costs:
                continue
            x = 100 * success * (1 + 0.08 * (n - 1))
            for cost in costs:
                missed = math.isinf(cost)
                axes.plot(
                    [x], [limit * 1.15 if missed else cost], "^" if missed else "o", color=colour, ms=4, alpha=0.7
                )
            medians.append((x, min(statistics.median(costs), limit * 1.15)))
        axes.plot(*zip(*medians, strict=True), color=colour, lw=2, label=LABELS[arm])
    axes.axhline(limit, color="#cccccc", lw=0.8)
    axes.text(axes.get_xlim()[1], limit * 1.03, "not reached", ha="right", va="bottom", fontsize=8, color="#888888")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bare success of the starting policy on the hard sums (%)")
    axes.set_ylabel("cost to reach 80 %\n(forward-equivalent tokens)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=Path, default=Path("runs/worlds"), help="folder of the policies")
    parser.add_argument("--only", nargs="+", default=WORLDS, choices=WORLDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-cost", type=float, default=2e6)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        world, arm, seed, max_cost, folder = arguments.one
        found = one_run(world, arm, int(seed), float(max_cost), Path(folder))
        Path(f"{folder}.json").write_text(json.dumps(found))
        return
    content: dict[str, Any] = {"bare_success": {}, "runs": []}
    if RESULT.exists():
        content = json.loads(RESULT.read_text())
    content |= {
        "command": "python benchmarks/dose_response.py",
        "max_cost": arguments.max_cost,
        "target": TARGET,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("p2o-rl", "torch", "transformers", "trl", "gepa")},
    }
    done = {(r["world"], r["arm"], r["seed"]) for r in content["runs"]}
    paths = {world: policy_of(world, arguments.worlds) for world in arguments.only}
    for world, path in paths.items():
        content["bare_success"][world] = bare_success(world, path, arguments.worlds)
    content["bare_success"] = dict(sorted(content["bare_success"].items(), key=lambda item: item[1]))
    missing = [(w, a, s) for s in range(arguments.seeds) for w in paths for a in ARMS if (w, a, s) not in done]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        made = [
            pool.submit(in_a_process, w, paths[w], a, s, arguments.max_cost, arguments.worlds / "runs")
            for w, a, s in missing
        ]
        for future in made:
            content["runs"].append(future.result())
            RESULT.write_text(json.dumps(content) + "\n")
            print(cost_table(content), flush=True)
    draw(content, PICTURE)
    print(cost_table(content))


if __name__ == "__main__":
    main()
