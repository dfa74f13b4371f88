"""A YAML value as a dataclass field's type wants it."""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ConfigError


def coerce(key: str, value: Any, hint: Any) -> Any:
    """The value as the field's type wants it.

    Raises:
        ConfigError: it cannot be.
    """
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        found, converted = _convert(value, option)
        if found:
            return converted
    wanted = " or ".join(_type_name(o) for o in options)
    raise ConfigError(f"{key} is {value!r}; it must be {wanted}")


def _convert(value: Any, option: Any) -> tuple[bool, Any]:
    origin = get_origin(option)
    if option is Any:
        return True, value
    if origin is Literal:
        return value in get_args(option), value
    if option is type(None):
        return value is None, None
    if option is bool:
        return isinstance(value, bool), value
    if option is int:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
        return whole, int(value) if whole else None
    if option is float:
        return _to_float(value)
    if option is str:
        text = isinstance(value, str | int | float) and not isinstance(value, bool)
        return text, str(value)
    if origin in (list, dict) or option in (list, dict):
        kind = origin or option
        if kind is list and isinstance(value, str) and get_args(option) in ((str,), (Any,)):
            return True, [value]  # one text is a list of one: --lora_target_modules all-linear
        return isinstance(value, kind), value
    if isinstance(option, type) and issubclass(option, Enum) and value is False:
        return True, "no"  # YAML 1.1 reads no as false
    return True, value  # enums and the like: the dataclass checks them itself


def _to_float(value: Any) -> tuple[bool, Any]:
    # YAML 1.1 reads 1e-6 as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False, None
    try:
        return True, float(value)
    except ValueError:
        return False, None


def _type_name(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(option, str(getattr(option, "__name__", option)))
