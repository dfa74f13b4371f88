"""Files and folders that a recipe names. Their relative paths begin in the folder of the recipe that names them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DATA = ("train", "eval", "test")
FUNCTIONS = ("reflector", "method", "environment")
"""Keys whose value may be ``file.py:name``."""
MODELS = ("model_name_or_path", "chat_template_path", "resume_from_checkpoint")
JSON_FILES = ("deepspeed", "fsdp_config", "accelerator_config")
"""Keys whose value may be a JSON file, or what would stand in it."""

_FILE = re.compile(r".*\.(jsonl|json|csv|parquet|jinja|j2|yaml|yml)")
_FUNCTION = re.compile(r"(.*\.py)(:\w+)")


def from_folder(key: str, value: Any, folder: Path) -> Any:
    """A key's value with the relative paths in it, which begin in ``folder``, as seen from the working directory."""
    return _each_path(key, value, folder, lambda path: os.path.normpath(folder / path))


def as_seen_from(folder: Path, key: str, value: Any) -> Any:
    """The inverse: relative paths as they are written in a file in ``folder``."""
    return _each_path(key, value, Path(), lambda path: os.path.relpath(path, folder))


def with_absolute_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The keys and values of a recipe in ``folder`` with all paths absolute, to be compared with another one's."""
    return {k: _each_path(k, v, folder, lambda path: os.path.abspath(folder / path)) for k, v in content.items()}


def _each_path(key: str, value: Any, folder: Path, change: Callable[[str], str]) -> Any:
    if key == "ood" and isinstance(value, Mapping):
        return {name: _one("train", source, folder, change) for name, source in value.items()}
    if key == "arms" and isinstance(value, Mapping):
        return {a: {k: _each_path(k, v, folder, change) for k, v in keys.items()} for a, keys in value.items()}
    if key == "tools" and isinstance(value, list):
        return [_one("reflector", tool, folder, change) for tool in value]
    if key == "environment" and isinstance(value, Mapping):
        return {name: _one(key, one, folder, change) for name, one in value.items()}
    if key == "rewards" and isinstance(value, list):
        return [_reward(reward, folder, change) for reward in value]
    return _one(key, value, folder, change)


def _reward(reward: Any, folder: Path, change: Callable[[str], str]) -> Any:
    if isinstance(reward, Mapping) and "name" in reward:
        return {**reward, "name": _one("reflector", reward["name"], folder, change)}
    return _one("reflector", reward, folder, change)


def _one(key: str, value: Any, folder: Path, change: Callable[[str], str]) -> Any:
    if not isinstance(value, str) or not value.strip():
        return value
    if key in FUNCTIONS and (function := _FUNCTION.fullmatch(value)):
        return _changed(function[1], change) + function[2]
    is_file = key in (*DATA, *MODELS, *JSON_FILES) and _FILE.fullmatch(value)
    if is_file or (key in (*DATA, *MODELS) and is_place(value, folder)):
        return _changed(value, change)
    return value


def is_place(name: str, folder: Path = Path()) -> bool:
    """Whether the name of a model or a data set is that of a folder, not one of the hub: it is there, or is written as
    a path."""
    return is_path(name) or (":" not in name and (folder / name).is_dir())


def is_path(name: str) -> bool:
    """Whether a name is written as a path: ``./x``, ``../x``, ``~/x``, ``/x``, ``a/b/c``, ``x/``."""
    if re.match(r"\w+:", name):  # builtin:sandbox, reasoning_gym:…?a=/b, https://…
        return False
    return name.startswith((".", "~", "/")) or name.count("/") > 1 or name.endswith("/")


def _changed(path: str, change: Callable[[str], str]) -> str:
    if Path(path).expanduser().is_absolute():
        return path
    changed = change(path)
    known = _FILE.fullmatch(changed) or changed.endswith(".py") or is_path(changed)
    return changed if known else f"./{changed}"  # a folder stays one at sight: ./a/b is no name of the hub
