"""The sentences of all errors that a user can cause are of one form (see CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import p2o
from p2o import errors

KINDS = {name for name in vars(errors) if name.endswith("Error")}
NAMES = ("P2O", "TRL", "GRPO", "Python", "Qwen")
SOURCE = Path(p2o.__file__).parent


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every error; what is put in stands as ``{…}``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in KINDS and node.args:
            message = node.args[0]
            if isinstance(message, ast.Constant) and isinstance(message.value, str):
                yield node.lineno, message.value
            if isinstance(message, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "{…}" for v in message.values]
                yield node.lineno, "".join(parts)


ALL = [(f"{path.relative_to(SOURCE)}:{line}", text) for path in SOURCE.rglob("*.py") for line, text in sentences(path)]


def test_they_are_found() -> None:
    assert len(ALL) > 150


@pytest.mark.parametrize(("place", "text"), ALL, ids=[place for place, _ in ALL])
def test_a_sentence(place: str, text: str) -> None:
    assert text[0].islower() or text[0] in "{-`'\"" or text.startswith(NAMES), "it begins with a small letter"
    assert not text.endswith((".", "!")), "it has no full stop"
    assert "\n" not in text, "it is one line"
    for word in ("mend", "sorry", "please"):
        assert f" {word} " not in f" {text} ", f"not {word!r}"
