"""The words of a command line: the command's own options, and the settings of the recipe among them."""

from __future__ import annotations

import argparse
from collections.abc import Container, Sequence

ANY_SETTING = "Any key of a recipe can be set on the command line: --key value."
RECIPE = "a YAML file, or the name of a shipped recipe such as quickstart"


def split_words(words: Sequence[str], options: Container[str]) -> tuple[list[str], list[str]]:
    """(the command's own words, the recipe's settings): ``train r.yaml --resume --tau 1`` → ``--tau 1`` is a setting.

    Args:
        options: the command's own options ("--resume"). Every other word with two dashes begins a setting; the word
            behind it is its value, unless that begins with two dashes too.
    """
    own: list[str] = []
    settings: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--") or name.replace("_", "-") in options:
            own.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
            continue
        settings.append(word)
        if "=" not in word and rest and not rest[0].startswith("--"):
            settings.append(rest.pop(0))
    return own, settings


def options_of(parser: argparse.ArgumentParser | None) -> list[str]:
    """The options that a parser takes, with their dashes."""
    return [option for action in parser._actions for option in action.option_strings] if parser else []
