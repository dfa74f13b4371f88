"""The hooks of a user's method, whose errors are one sentence with file and line."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...base.loading import what_it_raised
from ...errors import ConfigError, P2OError
from .base import Method

HOOKS = (
    "__init__", "order", "prompts", "credit", "rolls_out", "between_epochs", "state_dict", "load_state_dict", "pool",
)  # fmt: skip
_OURS = Path(__file__).parents[2]


def with_plain_errors(method: type[Method], name: str) -> type[Method]:
    """The same class; what its own code raises becomes a ConfigError of one sentence.

    An error that comes from rollouts or a reflector, which a hook may call, is not the method's: it passes as it is.

    Args:
        name: the method as the user gave it, for the sentence.
    """
    own = {hook: _plain(getattr(method, hook), hook, name) for hook in HOOKS}
    return type(method.__name__, (method,), {"__doc__": method.__doc__, "__module__": method.__module__, **own})


def _plain(hook: Callable[..., Any], name: str, method: str) -> Callable[..., Any]:
    @functools.wraps(hook)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return hook(*args, **kwargs)
        except P2OError:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            if _came_back_to_us(error):
                raise
            raise ConfigError(f"method {method}: {name!r} raised {what_it_raised(error)}") from error

    return call


def _came_back_to_us(error: BaseException) -> bool:
    """Whether a user's code called this package, and the error began there: our files stand after theirs."""
    ours = [_OURS in Path(frame.filename).parents for frame in traceback.extract_tb(error.__traceback__)]
    return True in ours[ours.index(False) :] if False in ours else True
