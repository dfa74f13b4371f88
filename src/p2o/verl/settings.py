"""The ``p2o`` group of a verl configuration, and what of verl it can be combined with. Does not import verl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_type_hints

from ..base.coerce import coerce
from ..base.spelling import nearest
from ..core.distill import Distillation
from ..core.evolve.budget import budget
from ..errors import ConfigError
from ..reflectors.settings import ReflectorSettings


@dataclass(kw_only=True)
class VerlSettings(ReflectorSettings):
    """Settings of the joint loop on verl, given as ``+p2o.NAME=VALUE``. Names, meaning and defaults are those of
    `p2o.P2OConfig` and of `ReflectorSettings`, except where a docstring stands here."""

    num_generations: int
    """verl's ``actor_rollout_ref.rollout.n``; not to be given."""

    method: Literal["p2o", "grpo"] = "p2o"
    seed: int = 42
    tau: int = 2
    hard_min_count: int = 100
    dev_size: int = 300

    success_reward: str | None = None
    """Key of the dictionary that the reward function returns ("acc", for instance) by which *solved* is judged; the
    score itself by default."""

    success_threshold: float = 1.0
    withdrawal: Literal["solved", "graduated"] = "solved"
    bare_slots: int | None = None
    same_template_in_sample: bool = False
    drop_failed_template_rollout: bool = False
    distillation: Distillation = "mask"
    ratio_low: float = 0.01
    ratio_high: float = 10.0
    soft_max: float = 10.0
    evolve_budget: str = "heavy_4"
    evolve_parents: int = 16
    evolve_minibatch: int = 3
    evolve_max_iterations: int | None = None
    fill_proposals: bool = False
    pool: Literal["cover", "proposals"] = "cover"
    warm_start: bool = False
    max_template_chars: int = 4000

    reflector: str = "policy"
    """Who writes templates: ``policy`` (the weights in training), ``openai`` (an endpoint), ``phrases``, or
    ``module:function``. ``self`` is not offered: verl has no generation with frozen weights; serve them and use
    ``openai``."""

    reflect_temperature: float = 1.0
    reflect_max_tokens: int = 512
    reflect_max_prompt_chars: int = 12000

    def __post_init__(self) -> None:
        for name, low in [("tau", 1), ("hard_min_count", 2), ("dev_size", 1), ("num_generations", 2), ("soft_max", 1)]:
            if getattr(self, name) < low:
                raise ConfigError(f"{_place(name)} is {getattr(self, name)}; it must be at least {low}")
        budget(self.evolve_budget, 1)  # an unknown name is to be said now, not after an epoch
        if not 0 < self.ratio_low <= 1 <= self.ratio_high:
            raise ConfigError(
                f"the ratio bounds [{self.ratio_low}, {self.ratio_high}] must hold 1 and be above 0; "
                "set p2o.ratio_low and p2o.ratio_high accordingly"
            )
        if self.reflector == "self":
            raise ConfigError(
                "p2o.reflector=self: verl cannot generate with the starting weights; serve them (vllm serve MODEL) and "
                "set p2o.reflector=openai with reflector_model and reflector_base_url, or take p2o.reflector=policy"
            )
        least = 1 if self.withdrawal == "graduated" else 0
        if self.bare_slots is None:
            self.bare_slots = least
        if not least <= self.bare_slots < self.num_generations:
            raise ConfigError(
                f"p2o.bare_slots is {self.bare_slots}; with withdrawal {self.withdrawal} and groups of "
                f"{self.num_generations} rollouts it must be from {least} to {self.num_generations - 1}"
            )


def _place(name: str) -> str:
    return "actor_rollout_ref.rollout.n" if name == "num_generations" else f"p2o.{name}"


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
