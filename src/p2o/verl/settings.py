"""The ``p2o`` group of a verl configuration. Does not import verl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from ..base.coerce import coerce
from ..base.spelling import nearest
from ..core.methods import load_method
from ..core.settings import LoopSettings
from ..errors import ConfigError
from ..reflectors.building import build_reflector
from ..reflectors.settings import ReflectorSettings
from . import NAME
from .compatibility import check_misplaced, check_verl, value_at
from .method_check import check_hooks


@dataclass(kw_only=True)
class VerlSettings(ReflectorSettings, LoopSettings):
    """Settings of the joint loop on verl, given as ``+p2o.NAME=VALUE``. Names, meaning and defaults are those of
    `p2o.P2OConfig` and of `ReflectorSettings`, except where a docstring stands here."""

    num_generations: int
    """verl's ``actor_rollout_ref.rollout.n``; not to be given."""

    seed: int = 42
    """Of the evolutions and assignments, and of the order of samples where the method has one. (The shuffle of verl's
    own order follows from ``data.seed``.)"""

    success_reward: str | None = None
    """Key of the dictionary that the reward function returns ("acc", for instance) that says what *solved* means;
    the score itself by default."""

    max_cost: float | None = None
    """Stop when training has cost this many forward-equivalent tokens (see `p2o.core.cost`)."""

    max_rollouts: int | None = None
    """Stop when this many rollouts were drawn, those of the evolutions included."""

    reflector: str = "policy"
    """Who writes templates: ``policy`` (the weights in training), ``openai`` (an endpoint), ``phrases``, or
    ``module:function``. ``self`` is not offered: verl has no generation with frozen weights; serve them and use
    ``openai``."""

    def __post_init__(self) -> None:
        self.check_loop(self.num_generations, place="p2o.", group_key="actor_rollout_ref.rollout.n")
        if self.distillation == "kl":
            raise ConfigError(
                "p2o.distillation=kl: verl gives log-probs of the drawn tokens alone; take p2o.distillation=solved"
            )
        if self.template_worth != "success":
            raise ConfigError(
                f"p2o.template_worth={self.template_worth}: between epochs verl gives no log-probs of given texts; "
                "take p2o.template_worth=success"
            )
        if self.evolve_beside:
            raise ConfigError(
                "p2o.evolve_beside=true: verl's engines draw rollouts for the training all the time, so that none is "
                "free for an evolution beside it; leave it out, or train with TRL"
            )
        check_hooks(load_method(self.method), self.method)
        for name in ("scale_steps", "pull"):
            if getattr(self, name):
                raise ConfigError(
                    f"p2o.{name} is {getattr(self, name)}: on verl P²O changes neither advantages nor "
                    "optimizer steps, which are made in verl's workers; leave it out, or train with TRL"
                )
        if self.reflector == "self":
            raise ConfigError(
                "p2o.reflector=self: verl cannot generate with the starting weights; serve them (vllm serve MODEL) and "
                "set p2o.reflector=openai with reflector_model and reflector_base_url, or take p2o.reflector=policy"
            )


OWN = frozenset(f.name for f in fields(VerlSettings)) - {"num_generations"}
"""The names under ``p2o.``."""


def check_command(config: Mapping[str, Any]) -> None:
    """Checks the configuration of a whole verl command (plain mappings), which has a ``p2o`` group or asks for P²O.

    Raises:
        ConfigError: see `settings_of`; or another trainer would run, which does not read the group ``p2o``; or the
            method or the reflector cannot be loaded.
        ReflectorError: the environment variable with the reflector's key is not set.
    """
    mode = value_at(config, "trainer.v1.trainer_mode", "sync")
    if mode != NAME:
        raise ConfigError(
            f"p2o settings are given, but trainer.v1.trainer_mode is {mode}, which does not read them; set "
            f"trainer.v1.trainer_mode={NAME}"
        )
    if not value_at(config, "trainer.use_v1", True):
        raise ConfigError(f"trainer.use_v1=False cannot run trainer.v1.trainer_mode={NAME}; leave trainer.use_v1 out")
    build_reflector(settings_of(config))


def settings_of(config: Mapping[str, Any]) -> VerlSettings:
    """The ``p2o`` group of a resolved verl configuration (plain mappings); checks what it is combined with.

    Raises:
        ConfigError: an unknown name, a bad value, or a setting of verl with which P²O would not be what it says.
    """
    hints = get_type_hints(VerlSettings)
    check_verl(config)
    check_misplaced(config, OWN)
    given = config.get("p2o") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"p2o is {given!r}; give P²O's settings as +p2o.NAME=VALUE")
    for name in given:
        if name not in OWN:
            raise ConfigError(f"there is no setting p2o.{name}{nearest(str(name), sorted(OWN))}; see docs/verl.md")
    values = {name: coerce(f"p2o.{name}", value, hints[name]) for name, value in given.items()}
    return VerlSettings(num_generations=value_at(config, "actor_rollout_ref.rollout.n", 1), **values)
