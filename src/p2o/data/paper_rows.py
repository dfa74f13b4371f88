"""Rows as `p2o train` and verl both read them: what ``p2o data`` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base.text import one_line
from ..errors import DataError
from .columns import DataColumns, DataRow
from .load import load_rows

PREFIX = "Let's think step by step and output the final answer within \\boxed{}.\nQuestion: "
"""In front of every question, in training and evaluation (the reference's ``baseline_boxed``)."""


def as_row(data_source: str, index: int, split: str, question: str, answer: str, **extra: Any) -> DataRow:
    """One row with verl's columns (which `p2o.data` reads too) and an id that does not depend on the draw."""
    return {
        "id": f"{data_source}-{index}",
        "data_source": data_source,
        "prompt": [{"role": "user", "content": PREFIX + question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": index, "split": split, **extra},
    }


def as_text(value: Any) -> str:
    """Text or a number as stripped text; "" for anything else."""
    usable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if usable else ""


def read_source(name: str, hub: str, question: str, answer: str, *others: str, split: str = "train") -> list[DataRow]:
    """The rows of a local source, or of the hub's data set.

    Args:
        name: a local path, or a hub name; "" takes ``hub`` with its ``split``.
    """
    columns = DataColumns(prompt_column=question, answer_column=answer)
    keep = (question, answer, *others)
    return load_rows(name or hub, split=None if name else split, columns=columns, keep=keep)


def write_rows(rows: Sequence[DataRow], folder: Path, stem: str) -> list[Path]:
    """Writes ``stem.jsonl`` and ``stem.parquet``: the same rows for `p2o train` and for verl.

    Raises:
        DataError: the folder cannot be written, or a column holds values of several types.
    """
    import pyarrow
    from pyarrow import parquet

    jsonl, table = folder / f"{stem}.jsonl", folder / f"{stem}.parquet"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        jsonl.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), table)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}; give another folder with --out") from error
    except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
        raise DataError(f"{table} cannot be written ({one_line(str(error))}); fix the columns of the source") from error
    return [jsonl, table]
