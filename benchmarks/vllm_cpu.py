"""P2OTrainer on a real vLLM, on a CPU: log-probs under a template, and how far TRL's two modes go.

    python benchmarks/vllm_cpu.py colocate      # TRL's colocate mode: a batch, then two epochs with an evolution
    python benchmarks/vllm_cpu.py server        # TRL's server mode, against a server that it starts
    python benchmarks/vllm_cpu.py stock         # what the CPU build does with a weight update, unaided

Needs an environment with vllm-cpu and p2o (docs/vllm_reflector.md, docs/scaling.md). Each writes its part of
benchmarks/results/vllm-cpu.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))
RESULTS = HERE / "results" / "vllm-cpu.json"
PORT = 8017
BANK = ["Show your work.", "Go from right to left.", "Carry the ones.", "State the total at the end."]


def keep_weights_in_place() -> None:
    """The CPU build packs linear weights and drops the originals, so no update can reach them: use plain products."""
    import torch
    from vllm.model_executor.layers import utils

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain


def log_prob_contract(trainer: Any) -> dict[str, Any]:
    """|engine − trainer| of log-probs on the prompt a rollout was drawn from, and on the other one."""
    import torch

    from helpers import ALL_FOUR, rollout_batch

    trainer.args.drop_failed_template_rollout = False
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    metrics = trainer._metrics["train"]
    live = (batch["advantages"] != 0).any(1)
    tokens = batch["completion_mask"].bool() & live[:, None]
    tokens[trainer.num_generations - 1 :: trainer.num_generations] = False  # the bare slots
    ratio = batch["importance_sampling_ratio"].expand(tokens.shape)[tokens]
    old, sampled = batch["old_per_token_logps"], batch["sampling_per_token_logps"]
    assert torch.isfinite((old - sampled)[tokens]).all()
    found = {
        "templated tokens": int(tokens.sum()),
        "bare rows: mean |difference|": metrics["sampling/sampling_logp_difference/mean"][-1],
        "bare rows: largest": metrics["sampling/sampling_logp_difference/max"][-1],
        "templated rows: correction, least and largest": [ratio.min().item(), ratio.max().item()],
    }
    for name in ("mean", "max"):
        found[f"templated rows on T(x, z): {name} |difference|"] = metrics[f"p2o/engine_logp_difference/{name}"][-1]
    return found


def trainer_with(out: str, **changes: Any) -> Any:
    from helpers import make_trainer
    from p2o.reflectors import PhrasesReflector

    return make_trainer(
        Path(out),
        rows=12,
        reflector=PhrasesReflector(BANK, max_phrases=4),
        use_vllm=True,
        vllm_importance_sampling_mode="token_truncate",
        num_train_epochs=2,
        hard_min_count=4,
        dev_size=6,
        evolve_budget="80",
        fill_proposals=True,
        evolve_parents=8,
        **changes,
    )


def colocate() -> dict[str, Any]:
    keep_weights_in_place()
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        trainer = trainer_with(out, vllm_mode="colocate", vllm_gpu_memory_utilization=0.1)
        started = time.perf_counter() - start
        config = trainer.vllm_generation.llm.llm_engine.vllm_config
        found: dict[str, Any] = {
            "seconds until the engine is up": round(started, 1),
            "engine's type": str(config.model_config.dtype),
            "prefix caching": config.cache_config.enable_prefix_caching,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "before training": log_prob_contract(trainer),
        }
        trainer.loop.assignment = {}
        trainer.loop.ledger.clear()
        trainer.cost.phases["rollout"].rollouts = 0
        start = time.perf_counter()
        trainer.train()
        summary = json.loads((Path(out) / "p2o" / "epoch-000.json").read_text())["summary"]
        found |= {
            "training seconds": round(time.perf_counter() - start, 1),
            "updates": trainer.state.global_step,
            "rollouts": trainer.cost["rollout"].rollouts,
            "evolution rollouts": trainer.cost["evolve"].rollouts,
            "hard samples": summary["hard"],
            "samples under templates in epoch 2": summary["templated_next"],
            "after training": log_prob_contract(trainer),  # the engine holds what training made of the weights
        }
    return found


def stock() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_with(out, vllm_mode="colocate", vllm_gpu_memory_utilization=0.1)
        try:
            trainer.vllm_generation.sync_weights()
        except Exception as error:
            return {"weight update": f"{type(error).__name__}: {error}"}
    return {"weight update": "works"}


def serve(model: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--dtype", "float32"]
    command += ["--max-model-len", "512", "--enforce-eager", "--host", "127.0.0.1", "--port", str(PORT)]
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    command += ["--weight-transfer-config", '{"backend": "nccl"}']
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, "VLLM_SERVER_DEV_MODE": "1"}, **quiet)
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
            return process
        except (urllib.error.URLError, OSError):
            time.sleep(1)
            if process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}") from None
    process.terminate()
    raise SystemExit("the server did not come up")


def server() -> dict[str, Any]:
    from trl.generation.vllm_client import VLLMClient

    from p2o.generation.models import resolve_model

    start = time.perf_counter()
    process = serve(resolve_model("builtin:sandbox"))
    found: dict[str, Any] = {"seconds until the server is up": round(time.perf_counter() - start, 1)}
    place = {"vllm_mode": "server", "vllm_server_base_url": f"http://127.0.0.1:{PORT}", "vllm_server_timeout": 60.0}
    try:
        with tempfile.TemporaryDirectory() as out:
            try:
                trainer_with(out, **place)
                found["weight update group"] = "works"
            except Exception as error:
                found["weight update group"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            # Without updates the server still holds the starting weights, as the trainer does before the first step.
            VLLMClient.init_communicator = lambda self, device: None
            VLLMClient.update_named_params = lambda self, metadata, weights: None
            found["before training"] = log_prob_contract(trainer_with(out, **place))
    finally:
        process.terminate()
        process.wait(60)
    return found


def main() -> None:
    part = sys.argv[1]
    found = {"colocate": colocate, "server": server, "stock": stock}[part]()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    from importlib.metadata import version

    results["versions"] = {name: version(name) for name in ("vllm-cpu", "trl", "torch", "transformers")}
    results[part] = found
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
