"""A method by its name, or by a user's file."""

from __future__ import annotations

import difflib

from ...base.loading import load_module
from ...errors import ConfigError
from .base import Method
from .grpo import GRPO
from .p2o import P2O

METHODS: dict[str, type[Method]] = {"grpo": GRPO, "p2o": P2O}


def load_method(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: a name of `METHODS`, or ``file.py:Class`` or ``module:Class`` for a class derived from `Method`.

    Raises:
        ConfigError: there is no such method, or the class is none.
    """
    if name in METHODS:
        return METHODS[name]
    place, colon, class_name = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"there is no method {name!r}; {hint}use one of {', '.join(METHODS)}, or file.py:Class")
    try:
        found = getattr(load_module(place), class_name)
    except (ImportError, OSError, AttributeError) as error:
        raise ConfigError(f"method: cannot load {name!r} ({error}); write file.py:Class or module:Class") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"method: {name!r} is no method; derive the class from p2o.core.methods.Method")
    return found
