"""What verl's plug-in entry point loads in every process: registers the trainer and the agent loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from omegaconf import OmegaConf
from verl.models.transformers import monkey_patch
from verl.utils import config as verl_config

from ..base.terminal import tell
from ..errors import P2OError
from . import NAME, agent_loop, trainer
from .settings import check_command

__all__ = ["agent_loop", "trainer"]


def checked_first(validate: Callable[..., None]) -> Callable[..., None]:
    """verl's check of a command's configuration, with ours before it: a setting that P²O refuses ends the command with
    one sentence, before Ray starts."""

    @wraps(validate)
    def validate_config(config: Any, *args: Any, **kwargs: Any) -> None:
        if NAME in config or OmegaConf.select(config, "trainer.v1.trainer_mode") == NAME:
            try:
                check_command(OmegaConf.to_container(config, resolve=True))
            except P2OError as error:
                tell(str(error))
                raise SystemExit(error.exit_code) from None
        validate(config, *args, **kwargs)

    return validate_config


verl_config.validate_config = checked_first(verl_config.validate_config)

# Where TRL is installed, verl 0.9.1 patches a class for critics that TRL 1.16 (which this package needs) no longer has,
# and does not start.
monkey_patch.is_trl_available = lambda: False
