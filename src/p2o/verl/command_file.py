"""A verl command in a file: its overrides, or its configuration. Does not import verl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.yaml_text import YamlError, yaml_value
from ..errors import ConfigError
from . import NAME
from .settings import OWN

OVERRIDES = "outputs/DATE/TIME/.hydra/overrides.yaml"
"""Where Hydra keeps the overrides of each command, from the folder in which it was started."""


def read_overrides(file: str) -> list[str]:
    """The overrides of a verl command, such as Hydra keeps them of each command (see `OVERRIDES`).

    Raises:
        ConfigError: the file is no YAML list of ``key=value``.
    """
    content = _read(file)
    words = [str(word) for word in content] if isinstance(content, list) else []
    if not words or not all("=" in word or word.startswith("~") for word in words):
        raise ConfigError(
            f"{file} is no list of verl overrides; give the file that Hydra wrote when the command ran ({OVERRIDES}), "
            "or write one, a line each: - data.train_files=train.parquet"
        )
    return words


def read_configuration(file: str) -> dict[str, Any]:
    """A verl configuration as far as a file gives it: Hydra's ``config.yaml`` or ``overrides.yaml``, or the
    ``config.yaml`` of a run of P²O on verl.

    Raises:
        ConfigError: the file is none of these.
    """
    content = _read(file)
    if isinstance(content, list):
        return nested(read_overrides(file))
    if isinstance(content, dict) and isinstance(content.get("verl"), dict):
        return {**content["verl"], NAME: {name: content[name] for name in OWN if name in content}}
    if isinstance(content, dict) and isinstance(content.get("actor_rollout_ref"), dict):
        return content
    raise ConfigError(
        f"{file} is no verl configuration; give Hydra's config.yaml or overrides.yaml of a command, or the config.yaml "
        "of a run of P²O on verl"
    )


def nested(words: Sequence[str]) -> dict[str, Any]:
    """The configuration that overrides make: ``["data.seed=1"]`` → ``{"data": {"seed": 1}}``."""
    config: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.lstrip("+").partition("=")
        *groups, name = key.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise ConfigError(f"the override {word} sets a key within {group}, which another one made a value")
        if equals:
            place[name] = _value(text)
    return config


def _value(text: str) -> Any:
    try:
        return yaml_value(text) if text else None
    except YamlError:
        return text


def _read(file: str) -> list[Any] | Mapping[str, Any] | Any:
    try:
        return yaml_value(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise ConfigError(f"the file {file} cannot be read as YAML ({error})") from error
