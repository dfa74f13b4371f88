"""Which reader a source is for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..base.spelling import nearest
from ..errors import DataError
from .columns import DataRow
from .files import from_csv, from_json, from_package, from_parquet, only_train
from .gym import from_gym
from .hub import from_datasets

FILE_KINDS = (".jsonl", ".json", ".csv", ".parquet")
"""Suffixes of the files that are read."""


def read(source: str, split: str | None, keep: Sequence[str] | None) -> list[DataRow]:
    """All rows of a source (see the table in `p2o.data`).

    Args:
        split: of a folder or a hub data set; None: ``train``, or the only one.
        keep: read these columns alone, where the format allows it.

    Raises:
        DataError: the source cannot be read.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "reasoning_gym":
        return from_gym(source, rest)
    if scheme == "builtin":
        return from_package(source, rest, split)
    path = Path(source).expanduser()
    if path.suffix in FILE_KINDS:
        only_train(source, split)
        if not path.is_file():
            there = [str(file) for file in path.parent.glob("*") if file.suffix in FILE_KINDS]
            raise DataError(
                f"there is no file {source}{nearest(str(path), there)}; check the path (it is taken from the working "
                "directory)"
            )
        if path.suffix == ".csv":
            return from_csv(path)
        return from_parquet(path, keep) if path.suffix == ".parquet" else from_json(path)
    if path.is_file():
        raise DataError(f"{source} is no kind of file that is read; make it one of {', '.join(FILE_KINDS)}")
    if path.is_dir():
        return from_datasets(source, str(path), None, split, keep)
    match = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?::([\w.-]+))?", source)
    if match is None or source.startswith("."):
        raise DataError(
            f"there is no data set {source}; give a .jsonl, .json, .csv or .parquet file, a folder, a hub "
            "name, reasoning_gym:NAME or builtin:NAME"
        )
    return from_datasets(source, match[1], match[2], split, keep)
