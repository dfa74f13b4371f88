"""Rows that a generator of reasoning-gym makes."""

from __future__ import annotations

import ast
import dataclasses
from typing import Any
from urllib.parse import parse_qsl

from ..base.packed import pack_json
from ..base.spelling import nearest
from ..base.text import one_line
from ..errors import DataError
from .columns import DataRow


def from_gym(source: str, spec: str) -> list[DataRow]:
    """The rows of ``NAME?key=value&…``, each with its entry, packed for the scorer (see `pack_json`).

    Raises:
        DataError: reasoning-gym is not installed, or has no such data set or setting.
    """
    try:
        from reasoning_gym.factory import DATASETS, create_dataset
    except ImportError:
        raise DataError(f"{source} needs reasoning-gym; run pip install 'p2o-rl[reasoning-gym]'") from None

    name, _, query = spec.partition("?")
    if name not in DATASETS:
        raise DataError(f"reasoning-gym has no data set {name!r}{nearest(name, DATASETS)}; see {source}")
    known = [field.name for field in dataclasses.fields(DATASETS[name][1])]
    settings: dict[str, Any] = {"seed": 0}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise DataError(
                f"{name} of reasoning-gym has no setting {key!r}{nearest(key, known)}; it has {', '.join(known)}"
            )
        settings[key] = _literal(value)
    try:
        entries = list(create_dataset(name, **settings))
    except Exception as error:  # a generator may raise anything on settings that do not fit together
        reason = one_line(f"{type(error).__name__}: {error}")
        raise DataError(f"{source} cannot be generated ({reason}); change its settings") from None
    return [
        {
            "prompt": entry["question"],
            "answer": entry["answer"],
            "reasoning_gym": name,
            "reasoning_gym_entry": pack_json(entry),
        }
        for entry in entries
    ]


def _literal(text: str) -> Any:
    """``3``, ``0.5``, ``[1, 2]``, ``true`` or ``None`` as Python values, anything else as text."""
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
