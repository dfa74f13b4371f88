"""Seconds to the same accuracy: how long the quickstart takes until 80 % of the hard held-out sums are solved bare.

    export OMP_NUM_THREADS=1
    python benchmarks/seconds.py --seeds 0 1

The whole command is timed, from its start: imports, model, data, evaluations, checkpoints, report. Arms:

now      the recipe as it is
earlier  the recipe with the batch of the first version
trl      TRL's own GRPOTrainer on the same data; it gets the seconds that ``now`` took in all

CPU seconds of one thread, because other work on the machine hardly changes them, and seconds by the clock. Each run is
written to `benchmarks/results/seconds.json` when it ends, and is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

RESULT = Path(__file__).parent / "results" / "seconds.json"
GOAL = 0.8
KEY = "eval_bare_success_hard"
EARLIER = ["--per_device_train_batch_size", "96", "--num_train_epochs", "5"]
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Of a process and of its children that have ended."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, parts[11:15])) / TICKS


def evaluations(folder: Path, key: str = KEY) -> list[float]:
    """The hard held-out success at each evaluation so far (``key`` of the metrics)."""
    file = folder / "p2o" / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [row[key] for row in map(json.loads, lines) if key in row]


def watched(words: list[str], folder: Path, key: str = KEY) -> dict[str, Any]:
    """Runs ``p2o train`` and looks at its folder. Each mark is (CPU seconds, seconds by the clock) from the start."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "p2o", "train", *words, "--output_dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    marks: dict[str, Any] = {}
    while process.poll() is None:
        now = [round(cpu_seconds(process.pid), 2), round(time.perf_counter() - began, 2)]
        if (folder / "config.yaml").exists():
            marks.setdefault("start_up", now)
        if any(value >= GOAL for value in evaluations(folder, key)):
            marks.setdefault("reached", now)
        marks["whole"] = now
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {**marks, "evaluations": evaluations(folder, key)}


def trls_own(seconds: float, seed: int, folder: Path) -> None:
    """Trains with TRL's GRPOTrainer until this process has used so many CPU seconds, and saves the model."""
    from dataclasses import fields

    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from p2o.data import to_dataset
    from p2o.generation.models import resolve_model
    from p2o.runs.building import rewards_of, samples_of
    from p2o.runs.recipe import load_recipe

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = time.process_time() >= seconds

    words = ["--eval_strategy", "no", "--save_strategy", "no", "--num_train_epochs", "1000", "--seed", str(seed)]
    recipe = load_recipe("quickstart", [*words, "--output_dir", str(folder)])
    given = {
        f.name: getattr(recipe.training, f.name)
        for f in fields(GRPOConfig)
        if f.init and f.name not in ("generation_batch_size", "num_generations_eval", "eval_on_start")
    }
    trainer = GRPOTrainer(
        model=resolve_model(str(recipe.model.model_name_or_path)),
        reward_funcs=rewards_of(recipe).trl_functions(),
        args=GRPOConfig(**{**given, "disable_tqdm": True, "model_init_kwargs": {"dtype": recipe.model.dtype}}),
        train_dataset=to_dataset(samples_of(recipe, "train")),
        callbacks=[Stop()],
    )
    trainer.train()
    trainer.save_model(str(folder / "model"))
    trainer.processing_class.save_pretrained(str(folder / "model"))


def trl(seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    """The hard held-out success of TRL's own trainer after so many CPU seconds."""
    line = [sys.executable, __file__, "--trl", str(seconds), "--seeds", str(seed), "--folder", str(folder)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    figures = folder / "figures.json"
    words = ["--test", "builtin:sandbox/dev", "--out", str(figures)]
    command = [sys.executable, "-m", "p2o", "eval", str(folder / "model"), "quickstart", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {"cpu_seconds": seconds, "hard": json.loads(figures.read_text())["bare"]["by_group"]["hard"]}


def imports() -> float:
    """CPU seconds of loading what a training needs, without a model."""
    code = "import p2o.trl.trainer, time; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--trl", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trl:
        trls_own(options.trl, options.seeds[0], options.folder)
        return
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}

    def keep(arm: str, seed: int, measure: Any) -> None:
        runs = found.setdefault(arm, {})
        if str(seed) in runs:
            return
        with tempfile.TemporaryDirectory() as folder:
            runs[str(seed)] = measure(Path(folder) / "run")
        both = [[r["reached"] for r in found.get(name, {}).values() if "reached" in r] for name in ("now", "earlier")]
        if all(both):
            now, earlier = ([median(part) for part in zip(*marks, strict=True)] for marks in both)
            found["now over earlier"] = {"cpu": round(now[0] / earlier[0], 3), "clock": round(now[1] / earlier[1], 3)}
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        print(arm, seed, runs[str(seed)], flush=True)

    for seed in options.seeds:
        words = ["quickstart", "--seed", str(seed)]
        keep("now", seed, lambda folder, words=words: watched(words, folder))
        keep("earlier", seed, lambda folder, words=words: watched([*words, *EARLIER], folder))
        whole = found["now"][str(seed)]["whole"][0]
        keep("trl", seed, lambda folder, seed=seed, whole=whole: trl(whole, seed, folder))
    found["imports_cpu_seconds"] = round(median(imports() for _ in range(3)), 2)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
