"""A method by its name, or by a user's file."""

from __future__ import annotations

from ...base.loading import load_function
from ...base.spelling import nearest
from ...errors import ConfigError
from .base import Method
from .hooks import with_plain_errors
from .known import METHODS
from .p2o import P2O


def load_method(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: a name of `METHODS`, or ``file.py:Class`` or ``module:Class`` for a class derived from `Method`.

    Returns:
        The class. What a user's own raises becomes a ConfigError of one sentence.

    Raises:
        ConfigError: there is no such method, or the class is not derived from `Method`.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        known = ", ".join(METHODS)
        raise ConfigError(f"there is no method {name!r}{nearest(name, METHODS)}; use one of {known}, or file.py:Class")
    found = load_function(name, "method", kind="class")
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"method: {name!r} is not a method; derive the class from p2o.core.methods.Method")
    return with_plain_errors(found, name)


def evolves_templates(name: str) -> bool:
    """Whether a method is P²O or derived from it, so that its plan has evolutions and a reflector."""
    return issubclass(load_method(name), P2O)
