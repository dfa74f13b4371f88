"""The gradients that verl's FSDP engine and PPO loss give on batches (a program of its own: it makes a process group).

    python tests/verl/verl_gradient.py BATCHES.pt GRADIENTS.pt

BATCHES holds ``model``, and ``batches`` by name, each with rows of ``prompt_ids``, ``response_ids``, ``advantages``,
``old_logps``, ``weights`` and ``masks`` (one tensor each; mask 0: a tool wrote it). GRADIENTS gets for each name of a
batch a parameter's name → its gradient.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from tensordict import TensorDict
from tiny_run import overrides
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.engine import EngineRegistry
from verl.workers.utils.losses import ppo_loss

from p2o.verl.batch import jagged


def main(batch_file: str, gradient_file: str) -> None:
    given = torch.load(batch_file)
    initialize_global_process_group_ray()
    with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", [*overrides(Path(".")), f"actor_rollout_ref.model.path={given['model']}"])
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    actor.engine.use_remove_padding = False
    engine = EngineRegistry.new(
        model_type="language_model",
        backend=actor.engine.strategy,
        model_config=model,
        engine_config=actor.engine,
        optimizer_config=actor.optim,
        checkpoint_config=actor.checkpoint,
    )
    engine.initialize()
    gradients = {name: gradient_of(batch, engine, actor) for name, batch in given["batches"].items()}
    torch.save(gradients, gradient_file)


def gradient_of(batch: dict[str, Any], engine: Any, actor: Any) -> dict[str, torch.Tensor]:
    """The gradient on one batch."""
    ids = [torch.cat(pair) for pair in zip(batch["prompt_ids"], batch["response_ids"], strict=True)]
    masks = jagged(batch["masks"])
    data = TensorDict(
        {
            "prompts": jagged(batch["prompt_ids"]),
            "responses": jagged(batch["response_ids"]),
            "response_mask": masks,
            "loss_mask": masks,
            "input_ids": jagged(ids),
            "position_ids": jagged([torch.arange(len(row)) for row in ids]),
            "old_log_probs": jagged(batch["old_logps"]),
            "advantages": jagged(batch["advantages"]),
            "rollout_is_weights": jagged(batch["weights"]),
        },
        batch_size=len(ids),
    )
    tu.assign_non_tensor(
        data,
        temperature=1.0,
        use_remove_padding=False,
        use_dynamic_bsz=False,
        micro_batch_size_per_gpu=len(ids) // 2,
        use_fused_kernels=False,
        global_batch_size=len(ids),
    )
    with engine.train_mode():
        engine.optimizer_zero_grad()
        engine.forward_backward_batch(data, partial(ppo_loss, config=actor))
        return {name: p.grad.full_tensor().clone() for name, p in engine.module.named_parameters()}


if __name__ == "__main__":
    main(*sys.argv[1:])
