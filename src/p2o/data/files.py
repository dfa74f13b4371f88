"""Rows of single files: the user's, and those of this package."""

from __future__ import annotations

import csv
import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base.spelling import nearest
from ..base.text import one_line
from ..errors import DataError
from .columns import DataRow


def only_train(source: str, split: str | None) -> None:
    """Checks the split that a file is asked for.

    Raises:
        DataError: it is another than ``train``.
    """
    if split not in (None, "train"):
        raise DataError(f"{source} has no split {split!r}; a file has one split, called train")


def from_json(path: Path) -> list[DataRow]:
    """The rows of a file with one JSON object a line, or (``.json`` alone) with one list of them.

    Raises:
        DataError: the file cannot be read, or a line is no object; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({one_line(str(error))}); check the path") from None
    whole = path.suffix == ".json" and text.lstrip().startswith("[")
    lines = [(0, text)] if whole else [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows: list[Any] = []
    for number, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            number = number or getattr(error, "lineno", 0)
            raise DataError(
                f"line {number} of {path} is not valid JSON ({one_line(str(error))}); fix or drop it"
            ) from None
        rows.extend(value if whole else [value])
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"row {number} of {path} is not a JSON object with columns; fix or drop it")
    return rows


def from_csv(path: Path) -> list[DataRow]:
    """The rows of a file of comma-separated values, whose first line names the columns. Every value is text.

    Raises:
        DataError: the file cannot be read, or a row has more or fewer values than there are columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, *rows = [line for line in csv.reader(file, strict=True) if line] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({one_line(str(error))}); check the file") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise DataError(f"row {number} of {path} has {len(row)} values for {len(names)} columns; fix or drop it")
    return [dict(zip(names, row, strict=True)) for row in rows]


def from_parquet(path: Path, keep: Sequence[str] | None) -> list[DataRow]:
    """The rows of a parquet file; of the columns only those in ``keep``, if it is given.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        names = None if keep is None else [n for n in parquet.read_schema(path).names if n in keep]
        rows: list[DataRow] = parquet.read_table(path, columns=names).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet ({one_line(str(error))}); check the file") from None
    return rows


def from_package(source: str, name: str, split: str | None) -> list[DataRow]:
    """The rows of ``builtin:FOLDER/NAME``, which come with this package.

    Raises:
        DataError: there are none of this name.
    """
    only_train(source, split)
    package = importlib.resources.files(__package__)
    folder, _, stem = name.partition("/")
    present = [
        f"builtin:{entry.name}/{file.name.removesuffix('.jsonl')}"
        for entry in package.iterdir()
        if entry.is_dir()
        for file in entry.iterdir()
        if file.name.endswith(".jsonl")
    ]
    if source not in present:
        raise DataError(f"there is no {source}{nearest(source, present)}; there are {', '.join(sorted(present))}")
    with importlib.resources.as_file(package / folder / f"{stem}.jsonl") as path:
        return from_json(path)
