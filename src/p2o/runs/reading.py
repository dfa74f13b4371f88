"""What a recipe file and the command line give: keys, values, and where each was written."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..base.secrets import HIDDEN, is_secret, without_secrets
from ..base.spelling import nearest
from ..base.yaml_text import YamlError, yaml_text, yaml_value
from ..errors import ConfigError

ON_COMMAND_LINE = "on the command line"

BASE = "base"
"""Another recipe, a file or the name of a shipped one: its keys hold where this recipe has none of its own."""


@dataclass(frozen=True)
class Given:
    """A value that was given for a key."""

    value: Any
    """As YAML reads it."""
    text: Any
    """As it was written. Of a list or mapping in a file: its scalars as they were written. None: a key alone."""
    place: str = ON_COMMAND_LINE
    """Where it was written, for messages: "in r.yaml"."""
    folder: Path = Path()
    """Where its relative paths begin."""


def read_recipe(name: str) -> tuple[str, dict[str, Given]]:
    """(stem, keys and values) of a recipe; the keys of its ``base``, another recipe, hold where it has none.

    Args:
        name: a YAML file, or the name of a recipe that ships with the package.

    Raises:
        ConfigError: there is no such recipe, or it is not YAML with keys that each stand once.
    """
    return _read_with_base(name, ())


def _read_with_base(name: str, seen: tuple[str, ...]) -> tuple[str, dict[str, Given]]:
    if name in seen:
        raise ConfigError(f"the recipe {name} is built on itself through its base; take another base")
    stem, text, folder = _find(name)
    content = parse_yaml(text, name, folder)
    base = content.pop(BASE, None)
    if base is None or base.value is None:
        return stem, content
    if not isinstance(base.text, str):
        raise ConfigError(f"base is {base.value!r} in {name}; it must be a recipe file or the name of a shipped recipe")
    place = str(folder / Path(base.text).expanduser()) if is_recipe_file(base.text) else base.text
    return stem, _read_with_base(place, (*seen, name))[1] | content


def is_recipe_file(name: str) -> bool:
    """Whether a recipe's name is that of a file."""
    return name.endswith((".yaml", ".yml"))


def _find(name: str) -> tuple[str, str, Path]:
    """(stem, text, folder where relative paths begin) of a recipe; those of a shipped one begin in the working
    directory."""
    if is_recipe_file(name):
        path = Path(name)
        if not path.is_file():
            near = nearest(str(path), map(str, recipe_files(path.parent)))
            raise ConfigError(f"there is no recipe file {name}{near or '; make one: p2o init DATA -o ' + name}")
        try:
            return path.stem, path.read_text(encoding="utf-8"), path.parent
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the recipe file {name} cannot be read as text ({error})") from error
    names = shipped_recipes()
    if name in names:
        return name.replace("/", "-"), (recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8"), Path()
    hint = nearest(name, [*names, *map(str, recipe_files(Path()))]) or f" (there are {', '.join(names)})"
    raise ConfigError(f"there is no recipe {name!r}{hint}; a file of your own ends in .yaml")


def recipe_files(folder: Path) -> list[Path]:
    """The files of a folder that are recipes by their names."""
    return sorted(path for path in folder.glob("*") if is_recipe_file(path.name))


def recipes_folder() -> Path:
    """Where the recipes of the package, and their JSON schema, are."""
    return Path(str(resources.files("p2o") / "runs" / "recipes"))


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package, those in folders last."""
    folder = recipes_folder()
    names = (str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
    return sorted(names, key=lambda name: ("/" in name, name))


@dataclass(frozen=True)
class Header:
    """What the first lines of a shipped recipe say of it."""

    description: str
    hardware: str
    time: str


def header_of(name: str) -> Header:
    """The header of a shipped recipe: after the line for editors come comments with a description, then lines that
    begin with ``Hardware:`` and ``Time:``."""
    lines = (recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[1:]
    comment = " ".join(
        line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("# "), lines)
    )
    found = re.match(r"(.+?) Hardware: (.+?)\. Time: (.+?)\.$", comment)
    return Header(*found.groups()) if found else Header(comment, "not known", "not known")


def parse_yaml(text: str, name: str, folder: Path) -> dict[str, Given]:
    """The keys of a recipe's text.

    Raises:
        ConfigError: it is no YAML mapping, or a key stands in it twice.
    """
    try:
        values = yaml_value(text)
    except YamlError as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be a mapping of keys to values")
    texts = yaml_text(text)
    return {str(k): Given(v, t, f"in {name}", folder) for (k, t), v in zip(texts.items(), values.values(), strict=True)}


def parse_words(words: Sequence[str]) -> dict[str, Given]:
    """``["--tau", "1", "--use_peft"]`` → ``{"tau": Given(1, "1"), "use_peft": Given(True, None)}``; ``--key=value``
    works too.

    Raises:
        ConfigError: a word is no setting.
    """
    settings: dict[str, Given] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise ConfigError(f"unexpected argument {word!r}; settings are written --key value")
        key = _plain_key(key)
        if equals:
            settings[key] = _from_word(text)
        elif rest and not rest[0].startswith("--"):
            settings[key] = _from_word(rest.pop(0))
        else:
            settings[key] = Given(True, None)
    return settings


def _from_word(word: str) -> Given:
    try:
        value = yaml_value(word)
    except YamlError:
        return Given(word, word)
    # YAML reads "", "~" and "#1" as nothing, too.
    return Given(word if value is None and word != "null" else value, word)


def setting_words(settings: Mapping[str, Any]) -> list[str]:
    """The words that set keys on a command line: the inverse of `parse_words`."""
    return [f"--{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in settings.items()]


def words_without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command line, fit to be written and shown."""
    shown: list[str] = []
    hidden = False  # whether this word is the value of a key that holds a secret
    for word in words:
        key, equals, _ = word.partition("=")
        if not word.startswith("--"):
            shown.append(HIDDEN if hidden else without_secrets(word))
            continue
        secret = is_secret(_plain_key(key))
        shown.append(f"{key}={HIDDEN}" if secret and equals else without_secrets(word))
        hidden = secret and not equals
    return shown


def _plain_key(word: str) -> str:
    return word.removeprefix("--").replace("-", "_")
