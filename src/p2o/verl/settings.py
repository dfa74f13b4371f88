"""The ``p2o`` group of a verl configuration, and what of verl it can be combined with. Does not import verl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from ..base.coerce import coerce
from ..base.spelling import nearest
from ..core.settings import LoopSettings
from ..errors import ConfigError
from ..reflectors.settings import ReflectorSettings


@dataclass(kw_only=True)
class VerlSettings(ReflectorSettings, LoopSettings):
    """Settings of the joint loop on verl, given as ``+p2o.NAME=VALUE``. Names, meaning and defaults are those of
    `p2o.P2OConfig` and of `ReflectorSettings`, except where a docstring stands here."""

    num_generations: int
    """verl's ``actor_rollout_ref.rollout.n``; not to be given."""

    seed: int = 42

    success_reward: str | None = None
    """Key of the dictionary that the reward function returns ("acc", for instance) by which *solved* is judged; the
    score itself by default."""

    reflector: str = "policy"
    """Who writes templates: ``policy`` (the weights in training), ``openai`` (an endpoint), ``phrases``, or
    ``module:function``. ``self`` is not offered: verl has no generation with frozen weights; serve them and use
    ``openai``."""

    def __post_init__(self) -> None:
        self.check_loop(self.num_generations, place="p2o.", group_key="actor_rollout_ref.rollout.n")
        if self.reflector == "self":
            raise ConfigError(
                "p2o.reflector=self: verl cannot generate with the starting weights; serve them (vllm serve MODEL) and "
                "set p2o.reflector=openai with reflector_model and reflector_base_url, or take p2o.reflector=policy"
            )


def settings_of(config: Mapping[str, Any]) -> VerlSettings:
    """Reads the ``p2o`` group of a resolved verl configuration (plain mappings), and checks what it is combined with.

    Raises:
        ConfigError: an unknown name, a bad value, or a setting of verl with which P²O would not be what it says.
    """
    check_verl(config)
    hints = get_type_hints(VerlSettings)
    known = [f.name for f in fields(VerlSettings) if f.name != "num_generations"]
    given = dict(config.get("p2o") or {})
    for name in given:
        if name not in known:
            raise ConfigError(f"there is no setting p2o.{name}{nearest(name, known)}; see docs/verl.md")
    values = {name: coerce(f"p2o.{name}", value, hints[name]) for name, value in given.items()}
    return VerlSettings(num_generations=_at(config, "actor_rollout_ref.rollout.n", 1), **values)


REFUSED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("algorithm.rollout_correction.bypass_mode", (False, None), "the ratio needs the trainer's own log-probs"),
    ("algorithm.filter_groups.enable", (False, None), "groups without spread are the ones to be mined"),
    ("trainer.v1.sampler.sync_refill_failed_groups", (False, None), "epochs would overlap"),
    ("actor_rollout_ref.rollout.enable_rollout_routing_replay", (False, None), "routes were taken on other prompts"),
    ("actor_rollout_ref.rollout.multi_turn.enable", (False, None), "rollouts are single-turn"),
    ("algorithm.adv_estimator", ("grpo",), "P²O is defined on GRPO's group advantages"),
)
"""Settings of verl, the values that P²O works with, and why the others do not."""

LOSSES_WITHOUT_TOKEN_WEIGHTS = ("geo_mean", "bypass_mode")
"""Policy losses of verl that do not multiply each token's loss by its weight."""


def check_verl(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings of verl with which P²O would not be what it says."""
    for key, allowed, why in REFUSED:
        value = _at(config, key, allowed[0])
        if value not in allowed:
            raise ConfigError(f"{key}={value} cannot be combined with P²O ({why}); set it to {allowed[0]}")
    loss = _at(config, "actor_rollout_ref.actor.policy_loss.loss_mode", "vanilla")
    if loss in LOSSES_WITHOUT_TOKEN_WEIGHTS:
        raise ConfigError(
            f"actor_rollout_ref.actor.policy_loss.loss_mode={loss} has no weight per token, which the ratio mask "
            "needs; set it to vanilla"
        )
    model = _at(config, "reward.reward_model", {}) or {}
    if model.get("enable") and not model.get("enable_resource_pool"):
        raise ConfigError(
            "a reward model on the training GPUs cannot score templates between epochs; set "
            "reward.reward_model.enable_resource_pool=True, or use a reward function"
        )


def _at(config: Mapping[str, Any], key: str, default: Any) -> Any:
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            return default
        value = value[part]
    return value
