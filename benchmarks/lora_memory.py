"""How many copies of the base model a run with the reflector *self* holds while it reflects.

    python benchmarks/lora_memory.py                  # SmolLM2-135M; writes benchmarks/results/lora-memory.json

Each arm is a process of its own: one generation of 4 samples × 4 rollouts, an evolution with the reflector *self*, one
more generation. Whenever the model generates, the bytes of all parameters alive in the process are counted (every
distinct storage once). `benchmarks/speed.py --only memory` measures the peak of the whole process.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ARMS = ("grpo lora", "p2o lora", "p2o full")
RESULT = Path(__file__).parent / "results" / "lora-memory.json"


def parameter_bytes() -> int:
    """Bytes of the distinct storages of all parameters alive in this process."""
    import torch

    parameters = [o for o in gc.get_objects() if isinstance(o, torch.nn.Parameter)]
    return sum({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in parameters}.values())


def peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))


def digest(weights: dict[str, Any]) -> str:
    import hashlib

    import torch

    whole = hashlib.sha256()
    for name in sorted(weights):
        whole.update(weights[name].detach().contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def one_arm(method: str, weights: str, model: str) -> dict[str, Any]:
    from peft import LoraConfig
    from transformers import GenerationMixin

    from p2o import P2OConfig, P2OTrainer
    from p2o.data import load_samples, to_dataset
    from p2o.generation.models import resolve_model

    samples = [s for s in load_samples("builtin:sandbox/train") if s.columns["level"] == "hard"]
    with tempfile.TemporaryDirectory() as out:
        args = P2OConfig(
            out,
            method=method,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            num_generations=4,
            per_device_train_batch_size=16,
            num_train_epochs=2,
            learning_rate=1e-3,
            max_completion_length=16,
            hard_min_count=2,
            dev_size=2,
            evolve_budget="12",
            reflect_max_tokens=16,
            save_strategy="epoch",
        )
        trainer = P2OTrainer(
            resolve_model(model),
            lambda completions, **columns: [len(set(c[0]["content"])) % 7 / 7 for c in completions],  # never solved
            args,
            train_dataset=to_dataset(samples[:4]),
            peft_config=LoraConfig(r=16, target_modules="all-linear") if weights == "lora" else None,
            reflector="self",
        )
        frozen = {n: p for n, p in trainer.model.named_parameters() if "lora_" not in n}
        base = sum(p.nbytes for p in frozen.values())
        adapter = sum(p.nbytes for n, p in trainer.model.named_parameters() if "lora_" in n)
        before = digest(frozen)
        seen: dict[str, int] = {}
        generate = GenerationMixin.generate

        def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            alive = parameter_bytes()
            seen[trainer._phase] = max(seen.get(trainer._phase, 0), alive)
            return generate(self, *args, **kwargs)

        GenerationMixin.generate = counted
        trainer.train()
        saved = sorted(p.name for p in Path(out).glob("checkpoint-*/adapter_model.safetensors"))
    return {
        "base model MB": round(base / 1e6, 1),
        "adapter MB": round(adapter / 1e6, 1),
        "parameters alive, in base models": {phase: round(alive / base, 3) for phase, alive in seen.items()},
        "base weights unchanged by training": digest(frozen) == before,
        "adapters saved": len(saved),
        "reflected tokens": trainer.cost["reflect"].generated_tokens,
        "peak MB of the process": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="builtin:smollm2")
    parser.add_argument("--arm", help="one arm, in this process")
    parser.add_argument("--only", help="one arm, kept beside the others in the result")
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(one_arm(*options.arm.split(), options.model)))
        return
    found: dict[str, Any] = {"model": options.model}
    for arm in [options.only] if options.only else ARMS:
        command = [sys.executable, __file__, "--model", options.model, "--arm", arm]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        found = {**before, "model": options.model, arm: json.loads(output.splitlines()[-1])}
        RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
