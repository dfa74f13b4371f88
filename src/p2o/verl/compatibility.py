"""What of a verl configuration P²O works with. Does not import verl."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import ConfigError
from . import NAME

REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("algorithm.rollout_correction.bypass_mode", (False, None), "the ratio needs the trainer's own log-probs"),
    ("algorithm.filter_groups.enable", (False, None), "groups without spread are the ones to be mined"),
    ("trainer.v1.sampler.sync_refill_failed_groups", (False, None), "epochs would overlap"),
    ("skip.rollout_tq.enable", (False, None), "stored rollouts were drawn under other templates"),
    ("actor_rollout_ref.rollout.enable_rollout_routing_replay", (False, None), "routes were taken on other prompts"),
    (
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class",
        (None,),
        "the rollouts between two epochs need verl's own manager",
    ),
    ("algorithm.adv_estimator", ("grpo",), "P²O is defined on GRPO's group advantages"),
)
"""Settings of verl, the values that P²O works with, and why the others do not."""

LOSSES_WITHOUT_TOKEN_WEIGHTS = ("geo_mean", "bypass_mode")
"""Policy losses of verl that do not multiply each token's loss by its weight."""

GROUPS = ("", "trainer", "trainer.v1", "algorithm", "actor_rollout_ref")
"""Where a setting of P²O may have been put by mistake; "" is the top."""

OURS = re.compile("p2o|p20|po2|gepa", re.IGNORECASE)
"""What names meant for P²O look like. verl has none such."""

VERLS_OWN = frozenset({"distillation", "method", "seed"})
"""Names of P²O's settings that verl uses too."""


def check_verl(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings of verl with which P²O would not be what it says.

    Args:
        config: a resolved verl configuration, as plain mappings.
    """
    for key, allowed, why in REFUSED:
        value = value_at(config, key, allowed[0])
        if value not in allowed:
            todo = "leave it out" if allowed[0] is None else f"set it to {allowed[0]}"
            raise ConfigError(f"{key}={value} cannot be combined with P²O ({why}); {todo}")
    if value_at(config, "actor_rollout_ref.rollout.agent.default_agent_loop", "") == NAME:
        raise ConfigError(
            f"actor_rollout_ref.rollout.agent.default_agent_loop={NAME} names P²O itself, which wraps the agent loop "
            "that is chosen there; set it to single_turn_agent, tool_agent or one of your own"
        )
    loss = value_at(config, "actor_rollout_ref.actor.policy_loss.loss_mode", "vanilla")
    if loss in LOSSES_WITHOUT_TOKEN_WEIGHTS:
        raise ConfigError(
            f"actor_rollout_ref.actor.policy_loss.loss_mode={loss} has no weight per token, which the ratio mask "
            "needs; set it to vanilla"
        )
    model = value_at(config, "reward.reward_model", {})
    if model.get("enable") and not model.get("enable_resource_pool"):
        raise ConfigError(
            "a reward model on the training GPUs cannot score templates between epochs; set "
            "reward.reward_model.enable_resource_pool=True, or use a reward function"
        )


def check_misplaced(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise ConfigError for a setting of P²O that stands outside of the group ``p2o``: nothing would read it.

    Args:
        config: a resolved verl configuration, as plain mappings.
        known: the names of P²O's settings.
    """
    for group in GROUPS:
        for name in value_at(config, group, {}) if group else config:
            key = f"{group}.{name}" if group else str(name)
            if key == NAME:
                continue
            if OURS.search(str(name)):
                raise ConfigError(
                    f"{key} is read by nothing; P²O's settings are +p2o.NAME=VALUE (docs/verl.md lists what each "
                    "trainer.gepa setting of the reference is called here)"
                )
            if name in known and name not in VERLS_OWN:
                raise ConfigError(f"{key} is read by nothing; the setting of P²O is +p2o.{name}")


def value_at(config: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value of a dotted key; the default where it is missing or null."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            return default
        value = value[part]
    return value
