"""P²O on stock verl, end to end on a CPU: the sandbox policy, twelve sums that it never solves, four easy ones.

    python tests/verl/tiny_run.py OUT [verl overrides]

Stock `python -m verl.trainer.main_ppo` with this package's plug-in; `cpu_shim` stands for the accelerator and the
inference engine. Prints what came out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

PHRASES = [
    "Show your work.", "Go from the last digit to the first.", "Keep the carry.", "State the total at the end.",
    "Be careful.",
]  # fmt: skip


def write_data(out: Path, agents: Sequence[str] = ()) -> None:
    """Sums of the sandbox in verl's own format.

    Args:
        agents: the agent loops that the rows ask for, one after the other; none: there is no such column.
    """
    write_sums(out / "train.parquet", "train", 12, 4, agents)


def write_sums(file: Path, part: str, hard: int, easy: int, agents: Sequence[str] = ()) -> None:
    """Sums of a part of the sandbox's data with their solutions, in verl's own format; their ``data_source`` is their
    level."""
    import pyarrow
    from pyarrow import parquet

    from p2o.core.solutions import SOLUTION, STEPS
    from p2o.data import load_samples

    samples = load_samples(f"builtin:sandbox/{part}")
    chosen = [s for s in samples if s.columns["level"] == "hard"][:hard]
    chosen += [s for s in samples if s.columns["level"] == "easy"][:easy]
    table = [
        {
            "data_source": s.columns["level"],
            "prompt": [dict(m) for m in s.messages],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": s.answer},
            "extra_info": {"index": n, "split": part},
            **{name: s.columns[name] for name in (SOLUTION, STEPS)},
        }
        | ({"agent_name": agents[n % len(agents)]} if agents else {})
        for n, s in enumerate(chosen)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(table), file)


def overrides(out: Path) -> list[str]:
    """A user's verl configuration for this task."""
    from p2o.generation.models import resolve_model

    return [
        f"data.train_files={out}/train.parquet",
        f"data.val_files={out}/train.parquet",
        "data.train_batch_size=8",
        "data.dataloader_num_workers=0",
        "data.max_prompt_length=256",
        "data.max_response_length=56",
        "data.seed=1",
        "algorithm.adv_estimator=grpo",
        f"actor_rollout_ref.model.path={resolve_model('builtin:sandbox')}",
        "actor_rollout_ref.model.use_remove_padding=False",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        "actor_rollout_ref.actor.strategy=fsdp2",
        "actor_rollout_ref.actor.use_torch_compile=False",
        "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
        "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32",
        "actor_rollout_ref.actor.ppo_mini_batch_size=8",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16",
        "actor_rollout_ref.actor.optim.lr=3e-4",
        "actor_rollout_ref.rollout.name=cpu_hf",
        "actor_rollout_ref.rollout.n=6",
        "actor_rollout_ref.rollout.agent.num_workers=1",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=16",
        "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=16",
        f"reward.custom_reward_function.path={HERE}/reward.py",
        "reward.num_workers=1",
        "trainer.n_gpus_per_node=1",
        "trainer.nnodes=1",
        "trainer.device=cpu",
        "trainer.total_epochs=3",
        "trainer.save_freq=1",
        "trainer.test_freq=-1",
        "trainer.val_before_train=False",
        "trainer.logger=[console,file]",
        f"trainer.default_local_dir={out}/checkpoints",
        f"trainer.rollout_data_dir={out}/rollouts",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    ]


OWN_RAY = [
    "+ray_kwargs.ray_init.address=local",  # also beside a Ray that stays
    "+ray_kwargs.ray_init.num_gpus=1",
    "ray_kwargs.ray_init.num_cpus=32",
    "+ray_kwargs.ray_init.include_dashboard=False",
]
"""A Ray of the run's own, of one node."""


def its_ray(out: Path) -> list[str]:
    """A Ray of the run's own; or that of ``RAY_ADDRESS``, whose processes are told where this run writes. (A cluster
    that stays saves each run a quarter of its seconds: ``ray start --head --num-cpus 64 --num-gpus 2``.)"""
    if "RAY_ADDRESS" not in os.environ:
        return OWN_RAY
    told, variables = environment(out), "+ray_kwargs.ray_init.runtime_env.env_vars"
    return [f"{variables}.{name}={told[name]}" for name in ("VERL_FILE_LOGGER_PATH", "CPU_SHIM_LOG")]


P2O = [
    "trainer.v1.trainer_mode=p2o",
    "+p2o.hard_min_count=4",
    "+p2o.withdrawal=graduated",
    "+p2o.warm_start=True",
    "+p2o.fill_proposals=True",
    "+p2o.evolve_budget=150",
    "+p2o.reflector_max_phrases=5",
    "+p2o.evolve_parents=8",
    "+p2o.reflector=phrases",
    f"+p2o.reflector_phrases={json.dumps(PHRASES)}",
]
"""What a user adds for P²O."""


MULTI_TURN = [
    "data.max_response_length=160",  # two answers, and what comes between
    "actor_rollout_ref.rollout.multi_turn.enable=True",
    "actor_rollout_ref.rollout.multi_turn.format=written_work",
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=2",
    f"actor_rollout_ref.rollout.multi_turn.function_tool_path={HERE}/user_tool.py",
    "reward.custom_reward_function.name=compute_first_turn",
]
"""What a user adds for the tool and the environment of `user_loops`."""


def environment(out: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "VERL_USE_EXTERNAL_MODULES": "cpu_shim,user_loops",
        "VERL_PLATFORM": "cpu",
        "VERL_FILE_LOGGER_PATH": f"{out}/metrics.jsonl",
        "CPU_SHIM_LOG": f"{out}/server.jsonl",
        "CPU_SHIM_MAX_TOKENS": "56",
        "TOKENIZERS_PARALLELISM": "false",
        "HYDRA_FULL_ERROR": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "RAY_worker_niceness": "0",  # by default 15: beside other programs they would starve
        "RAY_memory_monitor_refresh_ms": "0",  # Ray would kill these small workers for what other programs take
    }


def start(
    out: Path,
    more: list[str] | None = None,
    added: list[str] = P2O,
    program: Sequence[str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a run in a process group of its own; its output goes to ``OUT/log.txt``. Without what is ``added`` it is
    stock verl's. The program is verl's own by default."""
    if program is None:
        program = ("-m", "verl.trainer.main_ppo", *its_ray(out))
    if not (out / "train.parquet").exists():
        write_data(out)
    with (out / "log.txt").open("ab") as log:
        command = [sys.executable, *program, *overrides(out), *added, *(more or [])]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=out, env=environment(out), start_new_session=True)


def run(out: Path, more: list[str] | None = None, added: list[str] = P2O) -> list[dict[str, Any]]:
    """A whole run; its metrics, one entry for each step."""
    if start(out, more, added).wait():
        raise RuntimeError(f"verl failed; see {out}/log.txt: {(out / 'log.txt').read_text()[-3000:]}")
    return metrics(out)


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["data"] for line in lines]


FIGURES = {
    "step": "training/global_step",
    "hard before": "p2o/hard",
    "templated": "p2o/templated",
    "bare success": "p2o/bare_success",
    "templated success": "p2o/templated_success",
    "ratio below": "p2o/ratio_below",
    "ratio above": "p2o/ratio_above",
    "gradient": "actor/grad_norm",
    "log-prob difference": "training/rollout_probs_diff_max",
    "seconds": "timing_s/step",
}


def show(out: Path) -> None:
    """Prints a run's figures, one line for each step, and the first pool."""
    print(" | ".join(FIGURES))
    for step in metrics(out):
        row = (f"{step[key]:.3g}" if key in step else "" for key in FIGURES.values())
        print(" | ".join(f"{value:>{len(name)}}" for name, value in zip(FIGURES, row, strict=True)))
    pool = json.loads((out / "checkpoints/p2o/epoch-000.json").read_text())["pool"]
    print("pool after the first epoch:", [template["text"] for template in pool])
    print(", ".join(f"{name} {version(name)}" for name in ("verl", "ray", "torch", "transformers", "trl")))


def main() -> None:
    out = Path(sys.argv[1]).absolute()
    run(out, sys.argv[2:])
    show(out)


if __name__ == "__main__":
    main()
