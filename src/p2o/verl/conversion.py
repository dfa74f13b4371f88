"""A verl configuration as the keys of a recipe, for ``p2o screen``, ``p2o eval`` and ``p2o evolve``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from . import NAME
from .compatibility import value_at

BUILT_IN_REWARD = "verl.utils.reward_score:default_compute_score"
"""What verl takes where no reward function is given: it chooses by ``data_source``."""

SAME = {
    "actor_rollout_ref.rollout.n": "num_generations",
    "actor_rollout_ref.rollout.temperature": "temperature",
    "actor_rollout_ref.rollout.top_p": "top_p",
    "data.prompt_key": "prompt_column",
    "data.max_response_length": "max_completion_length",
    "data.apply_chat_template_kwargs": "chat_template_kwargs",
    "actor_rollout_ref.actor.optim.lr": "learning_rate",
    "trainer.total_epochs": "num_train_epochs",
}
"""verl's settings that a recipe has under another name."""

VERLS_DEFAULTS = {"max_completion_length": 512, "reflector": "policy", "scale_steps": False}
"""Where they differ from those of a recipe, or from what is proposed for one."""


def recipe_settings(config: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The keys of a recipe that a verl configuration gives: model, data, reward function, chat template, sampling,
    lengths, and all of its group ``p2o``.

    Args:
        config: the configuration, or as much of it as is known (see `p2o.verl.command_file.read_configuration`).
        file: where it was read, for messages.

    Raises:
        ConfigError: it names no model or no training data, or has what a recipe cannot say.
    """
    found = {name: value for key, name in SAME.items() if (value := value_at(config, key, None)) not in (None, {})}
    top_k = value_at(config, "actor_rollout_ref.rollout.top_k", -1)
    given = {
        "model_name_or_path": _needed(config, "actor_rollout_ref.model.path", file),
        "train": _one_file(_needed(config, "data.train_files", file), "data.train_files", file),
        "test": _one_file(value_at(config, "data.val_files", None), "data.val_files", file),
        "rewards": [_reward(config, file)],
        "use_peft": value_at(config, "actor_rollout_ref.model.lora_rank", 0) > 0,
        "top_k": max(0, top_k) if isinstance(top_k, int) else None,
        **VERLS_DEFAULTS,
        **found,
        **_own(config, file),
    }
    for name, value in given.items():
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{name} is {value} in {file}, which only verl resolves; write the value itself there")
    return {name: value for name, value in given.items() if value is not None}


def _needed(config: Mapping[str, Any], key: str, file: str) -> Any:
    value = value_at(config, key, None)
    if value is None:
        raise ConfigError(f"{file} does not say {key}, which a recipe needs; add it there")
    return value


def _one_file(files: Any, key: str, file: str) -> str | None:
    listed = files if isinstance(files, list) else [files]
    if len(listed) > 1:
        raise ConfigError(
            f"{key} names {len(listed)} files in {file}, and a recipe takes one source; join them into one file"
        )
    return None if listed[0] is None else str(listed[0])


def _reward(config: Mapping[str, Any], file: str) -> dict[str, str]:
    function = value_at(config, "reward.custom_reward_function", {})
    if function.get("reward_kwargs"):
        raise ConfigError(
            f"reward.custom_reward_function.reward_kwargs is set in {file}, which a recipe cannot pass; give the "
            "function defaults in place of them"
        )
    place = function.get("path")
    name = f"{place}:{function.get('name') or 'compute_score'}" if place else BUILT_IN_REWARD
    return {"name": name, "signature": "verl"}


def _own(config: Mapping[str, Any], file: str) -> dict[str, Any]:
    own = dict(value_at(config, NAME, {}))
    if own.get("success_reward"):
        raise ConfigError(
            f"p2o.success_reward is {own['success_reward']!r} in {file}: a recipe's names a reward, not an entry of "
            "what one returns; write a reward function whose score is that entry"
        )
    return own
