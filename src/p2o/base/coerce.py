"""Converts a setting's value to the type of its dataclass field."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ConfigError
from .yaml_text import BareBool, yaml_text

NO = object()
"""Marks a value that does not fit a type."""


def coerce(key: str, value: Any, hint: Any, text: Any = None, place: str = "") -> Any:
    """The value converted to the field's type. A text field gets the text as it was written; all other types get the
    value that YAML reads.

    Args:
        key: the field's name, for the error message.
        value: as YAML reads it.
        hint: the field's type.
        text: the value as it was written: a text, or a list or mapping whose scalars are texts. None if it was not
            written (a value from Python).
        place: where it was written, for the message ("in r.yaml").

    Raises:
        ConfigError: the value does not fit the type.
    """
    options = union_options(hint)
    converted = _convert(value, text, hint)
    if converted is NO:
        shown = str(text) if isinstance(text, str) else value
        wanted = type_in_words(hint)
        quotes = "; put it in quotes" if str in options and isinstance(text, BareBool) else ""
        raise ConfigError(f"{key} is {shown!r}{f' {place}' if place else ''}; it must be {wanted}{quotes}")
    return converted


def union_options(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of any other type, itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _origin(option: Any) -> Any:
    return get_origin(option) or option


def _is_enum(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, Enum)


def _convert(value: Any, text: Any, hint: Any) -> Any:
    options = union_options(hint)
    # Text last: what another type of the union can read as a number, a list or null is meant that way.
    for option in sorted(options, key=lambda o: o is str):
        if _origin(option) is list and str not in options and _is_one_item(value):
            converted = _convert([value], [text], option)
        else:
            converted = _convert_to(option, value, text)
        if converted is not NO:
            return converted
    return NO


def _is_one_item(value: Any) -> bool:
    """Whether the value of a list setting is its only item: ``--lora_target_modules all-linear``. A list without its
    closing bracket is not."""
    return not isinstance(value, list | None) and not (isinstance(value, str) and value.lstrip().startswith("["))


def _convert_to(option: Any, value: Any, text: Any) -> Any:
    origin = _origin(option)
    if option is Any:
        return value
    if origin is Literal:
        return next((c for c in get_args(option) if c is value or c in (value, text)), NO)
    if option is type(None):
        return None if value is None else NO
    if option is bool:
        return value if isinstance(value, bool) else NO
    if option is int:
        return _number(value, text, whole=True)
    if option is float:
        return _number(value, text, whole=False)
    if option is str:
        return _text(value, text)
    if origin is list:
        return _list(value, text, (get_args(option) or (Any,))[0])
    if origin is dict:
        return _mapping(value, text, (get_args(option) or (Any, Any))[1])
    if _is_enum(option):
        members = [member.value for member in option]
        return next((v for v in (text, value) if isinstance(v, str) and v in members), NO)
    return value if isinstance(value, option) else NO


def _text(value: Any, text: Any) -> Any:
    if value is None or isinstance(text, BareBool):
        return NO
    if isinstance(text, str):
        return text
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else NO


NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d{1,3})?")
LARGEST = 10.0**30
"""No setting needs a larger number; numbers above 64 bits make libraries fail."""


def _number(value: Any, text: Any, whole: bool) -> Any:
    """A finite number. YAML 1.1 reads 1e-6 as text, 010 as 8 and 12:30 as 750, so the written text is read instead."""
    written = text if isinstance(text, str) else value
    if isinstance(written, str):
        if not NUMBER.fullmatch(written.strip()):
            return NO
        written = float(written.replace("_", "")) if re.search("[.eE]", written) else int(written[:40].replace("_", ""))
    if isinstance(written, bool) or not isinstance(written, int | float) or not abs(written) <= LARGEST:
        return NO
    if not whole:
        return float(written)
    return int(written) if written == int(written) else NO


def _list(value: Any, text: Any, item: Any) -> Any:
    if not isinstance(value, list):
        return NO
    texts = yaml_text(text) if isinstance(text, str) else text or [None] * len(value)
    return _all([_convert(v, t, item) for v, t in zip(value, texts, strict=True)], list)


def _mapping(value: Any, text: Any, item: Any) -> Any:
    if not isinstance(value, dict):
        return NO
    texts = yaml_text(text) if isinstance(text, str) else text or dict.fromkeys(value)
    converted = [_convert(v, t, item) for v, t in zip(value.values(), texts.values(), strict=True)]
    return _all(converted, lambda items: dict(zip(map(str, value), items, strict=True)))


def _all(converted: list[Any], make: Callable[[list[Any]], Any]) -> Any:
    return NO if any(c is NO for c in converted) else make(converted)


def type_in_words(hint: Any) -> str:
    """``int | None`` → "a whole number or null"."""
    return " or ".join(_type_name(option) for option in union_options(hint))


def _type_name(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, get_args(option)))
    if _is_enum(option):
        return "one of " + ", ".join(str(member.value) for member in option)
    if get_origin(option) is list and get_args(option) and get_args(option)[0] is not Any:
        return f"a list ({_type_name(get_args(option)[0])} each)"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null",
             list: "a list", dict: "a mapping"}  # fmt: skip
    origin = _origin(option)
    return names.get(origin, str(getattr(origin, "__name__", origin)))
