"""The JSON schema of a recipe, for editors: it completes keys, shows their meaning and marks mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from ..base.coerce import union_options
from ..core import settings
from .checks import NO_EFFECT, RANGES
from .keys import Key
from .reading import recipes_folder

SCHEMA_COMMAND = "p2o keys --schema > src/p2o/runs/recipes/recipe.schema.json"
MODELINE = "# yaml-language-server: $schema="
"""The line of a YAML file that tells an editor its schema; a path or a URL follows."""

_SIMPLE = {bool: "boolean", int: "integer", float: "number", NoneType: "null", dict: "object"}


def schema_file() -> Path:
    """Where the schema is in this installation."""
    return recipes_folder() / "recipe.schema.json"


def recipe_schema(keys: Sequence[Key]) -> dict[str, Any]:
    """The JSON schema of a recipe with these keys."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A recipe of p2o",
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _property(key) for key in keys},
    }


def _property(key: Key) -> dict[str, Any]:
    more = {"deprecated": True} if key.name in NO_EFFECT else {}
    return {"description": key.text, **_schema(key.hint), **_range(key.name), "default": key.default, **more}


def _range(name: str) -> dict[str, float]:
    from ..trl import config

    least = dict((*settings.LEAST, *config.LEAST))
    found = {n: {"minimum": low, "maximum": high} for n, low, high in RANGES}
    return found.get(name, {"minimum": least[name]} if name in least else {})


def _schema(hint: Any) -> dict[str, Any]:
    options = [_one(option) for option in union_options(hint)]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _one(option: Any) -> dict[str, Any]:
    origin = get_origin(option) or option
    if origin is Literal:
        return {"enum": list(get_args(option))}
    if isinstance(origin, type) and issubclass(origin, Enum):
        return {"enum": [member.value for member in origin]}
    if origin is str:
        return {"type": ["string", "number"]}  # a number is read as the text that was written
    if origin is list:
        item = _schema((get_args(option) or (Any,))[0])
        return {"anyOf": [{"type": "array", "items": item}, item]}  # one item alone is a list of one
    return {"type": _SIMPLE[origin]} if origin in _SIMPLE else {}
