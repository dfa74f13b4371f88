"""Peak memory of a P²O run against GRPO, as `benchmarks/speed.py --only memory` reports it.

Each run is a process of its own: SmolLM2-135M, two epochs on 4 sums, batches of 8 rollouts of 32 tokens, an
evolution (dev 2, reflector *self*) between the epochs. Its peak is the resident memory's high-water mark (Linux, CPU).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ARMS = ("grpo lora", "p2o lora", "grpo full", "p2o full")


def peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def one_run(method: str, weights: str, model: str, tokens: int) -> dict[str, Any]:
    """Trains in this process; MB after the imports and at the peak, and what was done."""
    from peft import LoraConfig

    from p2o import P2OConfig, P2OTrainer
    from p2o.data import load_samples, to_dataset
    from p2o.generation.models import resolve_model

    samples = [s for s in load_samples("builtin:sandbox/train") if s.columns["level"] == "hard"]
    imported = peak_mb()
    args = P2OConfig(
        tempfile.mkdtemp(),
        method=method,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        num_generations=4,
        per_device_train_batch_size=8,
        num_train_epochs=2,
        max_completion_length=tokens,
        generation_kwargs={"min_new_tokens": tokens},  # both arms train rows of full length
        hard_min_count=2,
        dev_size=2,
        evolve_budget="16",
        evolve_parents=2,
        reflect_max_tokens=tokens,
        save_strategy="no",
        skip_dead_rows=False,
    )
    trainer = P2OTrainer(
        resolve_model(model),
        lambda completions, **columns: [len(set(c[0]["content"])) % 7 / 7 for c in completions],  # never 1: all hard
        args,
        train_dataset=to_dataset(samples[:4]),
        peft_config=LoraConfig(r=16, target_modules="all-linear") if weights == "lora" else None,
        reflector="self",
    )
    trainer.train()
    cost = trainer.global_cost()
    return {
        "imported_mb": round(imported),
        "peak_mb": round(peak_mb()),
        "evolve_rollouts": cost["evolve"].rollouts,
        "reflected_tokens": cost["reflect"].generated_tokens,
    }


def memory(model: str, tokens: int, runs: int) -> dict[str, Any]:
    """Median peaks of all arms, and P²O's over GRPO's (of the whole process, and without what the imports take)."""
    import statistics

    found: dict[str, Any] = {}
    for arm in ARMS:
        command = [sys.executable, __file__, *arm.split(), model, str(tokens)]
        outs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(runs)]
        each = [json.loads(out.splitlines()[-1]) for out in outs]
        found[arm] = {**each[0], "peak_mb": statistics.median(run["peak_mb"] for run in each)}
    for weights in ("lora", "full"):
        ours, theirs = found[f"p2o {weights}"], found[f"grpo {weights}"]
        found[f"ratio {weights}"] = round(ours["peak_mb"] / theirs["peak_mb"], 3)
        above = [arm["peak_mb"] - arm["imported_mb"] for arm in (ours, theirs)]
        found[f"ratio {weights} without imports"] = round(above[0] / above[1], 3)
    return {"model": model, "tokens": tokens, "runs": runs, **found}


if __name__ == "__main__":
    method, weights, model, tokens = sys.argv[1:]
    print(json.dumps(one_run(method, weights, model, int(tokens))))
