"""YAML read in two ways: as values, and as the text that was written."""

from __future__ import annotations

from typing import Any

import yaml


class _TextLoader(yaml.SafeLoader):
    """Reads every scalar as the text that was written."""


class _ValueLoader(yaml.SafeLoader):
    """YAML's own reading, but dates stay text: no setting is a date."""


class BareBool(str):
    """A word such as true, yes or off that is written in YAML without quotes, so it is probably not meant as text."""


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


def _bare_bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> BareBool:
    return BareBool(node.value)


for _kind in ("int", "float", "null", "timestamp", "binary"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)
_TextLoader.add_constructor("tag:yaml.org,2002:bool", _bare_bool)
_ValueLoader.add_constructor("tag:yaml.org,2002:timestamp", _as_written)


class YamlError(ValueError):
    """A text is not YAML; the message says where."""


def yaml_value(text: str) -> Any:
    """The value that YAML reads from a text.

    Raises:
        YamlError: it is not YAML, or a mapping in it has a key twice.
    """
    try:
        _refuse_repeated_keys(yaml.compose(text, _ValueLoader))
        return yaml.load(text, _ValueLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())) from error


def yaml_text(text: str) -> Any:
    """Like `yaml_value`, with every scalar as the text that was written: ``{a: 007}`` → ``{"a": "007"}``."""
    return yaml.load(text, _TextLoader)


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for n, key in enumerate(keys) if key in keys[:n]), None)
        if twice is not None:
            raise ValueError(f"the key {twice!r} occurs in it twice")
        for _, value in node.value:
            _refuse_repeated_keys(value)
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item)
