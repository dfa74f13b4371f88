"""The keys of a recipe: type, default, meaning and origin, read from the dataclasses that define them."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from ..base.coerce import type_in_words, union_options
from ..base.markdown import table
from . import reading
from .checks import NO_EFFECT
from .recipe import OUTPUT_DIR, RecipeConfig, default_of, hints_of, plain

Origin = Literal["task", "P2O", "model", "TRL"]
ORIGINS: dict[Origin, str] = {
    "task": "the task: data, rewards, reflector",
    "P2O": "what P²O adds to GRPO",
    "model": "the model and LoRA: TRL's ModelConfig",
    "TRL": "the training: TRL's GRPOConfig, and the TrainingArguments of transformers under it",
}
"""Where a key comes from, in words. In this order they are listed."""

OUR_TEXTS = {
    "report_to": "Trackers that get the figures of the log: `none`, `all` that are installed, or some of "
    "`tensorboard`, `trackio`, `wandb`, `mlflow` and the others of transformers (pip install the tracker itself).",
}
"""Texts in place of TRL's, with the words that users search for."""

PAGE_COMMAND = "p2o keys --markdown > docs/keys.md"


@dataclass(frozen=True)
class Key:
    """One key of a recipe."""

    name: str
    origin: Origin
    hint: Any
    """Its type."""
    default: Any
    text: str
    """What it means."""

    @property
    def sentence(self) -> str:
        """The first sentence of the text."""
        return re.split(r"(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.) (?=[A-Z`'\"(])", self.text, maxsplit=1)[0]

    @property
    def type(self) -> str:
        """The type in words."""
        return type_in_words(self.hint)

    @property
    def choices(self) -> list[str]:
        """The values among which it chooses; empty where it takes others too."""
        found: list[str] = []
        for option in union_options(self.hint):
            if get_origin(option) is Literal:
                found += map(str, get_args(option))
            elif isinstance(option, type) and issubclass(option, Enum):
                found += [str(member.value) for member in option]
            elif option is bool:
                found += ["true", "false"]
            elif option is not NoneType and option is not str:
                return []
        return found

    @property
    def short_type(self) -> str:
        """The type, cut where it names many values."""
        return textwrap.shorten(self.type, 60, placeholder=" …")

    @property
    def default_text(self) -> str:
        """The default as a recipe writes it."""
        return self.default if isinstance(self.default, str) and self.default else json.dumps(self.default)


def recipe_keys() -> list[Key]:
    """All keys of a recipe, in the order of `ORIGINS`."""
    from trl import GRPOConfig, ModelConfig

    from ..trl.config import P2OConfig

    trls = {f.name for f in fields(GRPOConfig)}
    base = Key(reading.BASE, "task", str | None, None, _docs(reading)[reading.BASE.upper()])
    task = sorted(_keys(RecipeConfig, "task"), key=lambda key: key.name.startswith("reflector"))
    training = _keys(P2OConfig, "TRL")
    own = [Key(k.name, "P2O", k.hint, k.default, k.text) for k in training if k.name not in trls]
    return [base, *task, *own, *_keys(ModelConfig, "model"), *(k for k in training if k.name in trls)]


def _keys(config: type, origin: Origin) -> list[Key]:
    hints = hints_of(config)
    written = dict(OUR_TEXTS)
    for part in config.__mro__[-2::-1]:  # a class's own text comes before that of the classes under it
        written |= _docs(part) if part.__module__.startswith("p2o.") else {}
    return [
        Key(
            f.name, origin, hints[f.name], _default(f), _text(f.name, written.get(f.name) or f.metadata.get("help", ""))
        )
        for f in fields(config)
        if f.init
    ]


def _default(f: Any) -> Any:
    return OUTPUT_DIR.format(name="NAME") if f.name == "output_dir" else plain(default_of(f))


def _text(name: str, text: str) -> str:
    """The text in one line, with Markdown's code marks and with the text that it refers to; of a key without effect,
    why it has none."""
    if refers := re.search(r", see `(p2o\.[\w.]+)\.([A-Z]\w+)`", text):
        lines = _docs(importlib.import_module(refers[1]))[refers[2]].splitlines()
        text = f"{text.replace(refers[0], '')} {'; '.join(line for line in lines if line).replace(':;', ':')}."
    line = " ".join(text.replace("``", "`").split())
    return f"Has no effect here: {NO_EFFECT[name]}. {line}" if name in NO_EFFECT else line


def _docs(place: Any) -> dict[str, str]:
    """Name → the docstring below it, of a class or module."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(place))).body
    body = tree[0].body if isinstance(place, type) and isinstance(tree[0], ast.ClassDef) else tree
    found = {}
    for statement, below in itertools.pairwise(body):
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]  # type: ignore[assignment]
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[target.id] = inspect.cleandoc(str(below.value.value))
    return found


def keys_page(keys: Sequence[Key]) -> str:
    """``docs/keys.md``: a table for each origin."""
    from importlib.metadata import version

    parts = [
        "# The keys of a recipe",
        f"Made by `{PAGE_COMMAND}` with TRL {version('trl')} and transformers {version('transformers')}. "
        "`p2o keys WORD` searches this list, and `p2o keys NAME` prints the whole text of a key. Every key can be set "
        "in a recipe (`tau: 2`) and on the command line (`--tau 2`). In an editor with a YAML language server, the "
        "first line of a recipe shows all this while you write (`p2o init` writes it too).",
    ]
    for origin, words in ORIGINS.items():
        rows = [(f"`{k.name}`", k.short_type, f"`{k.default_text}`", k.sentence) for k in keys if k.origin == origin]
        parts += [f"## {words[0].upper()}{words[1:]}", table(("key", "type", "default", "meaning"), rows)]
    return "\n\n".join(parts) + "\n"
