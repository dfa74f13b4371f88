"""From a source to rows and samples."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from ..core.samples import Sample
from ..errors import DataError
from .columns import DEFAULT_COLUMNS, RESERVED, DataColumns, Row, prompt_column_of
from .row import answers_of, given_ids, messages_of, prompted, stable_id
from .sources import read


def load_samples(source: str, *, split: str | None = None, columns: DataColumns = DEFAULT_COLUMNS) -> list[Sample]:
    """Read a source (see the table in `p2o.data`) into samples with unique ids.

    Raises DataError: one sentence with the source and the row (counted from 1, blank lines not).
    """
    rows = load_rows(source, split=split, columns=columns)
    prompt_column = prompt_column_of(rows, columns)
    chosen = range(len(rows))
    if columns.limit is not None and columns.limit < len(rows):
        chosen = sorted(random.Random(columns.seed).sample(chosen, columns.limit))  # type: ignore[assignment]
    ids = given_ids(source, rows, columns)
    samples: dict[str, Sample] = {}
    places: dict[str, int] = {}
    copies = 0
    for index in chosen:
        place = f"row {index + 1} of {source}"
        messages = messages_of(rows[index].get(prompt_column), place)
        answers = answers_of(rows[index], place, columns)
        sample_id = stable_id(messages, answers) if ids is None else ids[index]
        if sample_id in samples and ids is None:
            copies += 1
            continue
        if sample_id in samples:
            raise DataError(
                f"rows {places[sample_id] + 1} and {index + 1} of {source} have the same id {sample_id!r}; "
                "mend one, or name another id_column"
            )
        others = {k: v for k, v in rows[index].items() if k not in ("prompt", "answer", "answers", "sample_id")}
        if len(answers) > 1:
            others["answers"] = answers
        answer = answers[0] if answers else None
        samples[sample_id] = Sample(sample_id, prompted(messages, columns), answer, others, place)
        places[sample_id] = index
    if copies:
        warnings.warn(f"{source}: {copies} rows repeat an earlier prompt and answer; left out", stacklevel=2)
    return list(samples.values())


def load_rows(
    source: str,
    *,
    split: str | None = None,
    columns: DataColumns = DEFAULT_COLUMNS,
    keep: Sequence[str] | None = None,
) -> list[Row]:
    """All rows of a source as they stand in it, once it is known that they have the columns.

    Args:
        keep: read these columns alone (parquet and HF data sets; long ones fill the memory).

    Raises DataError for a source that cannot be read, is empty, or lacks a column.
    """
    rows = read(source, split, keep)
    if not rows:
        raise DataError(f"{source} holds no rows; give a data set with at least one")
    present = list(dict.fromkeys(name for row in rows for name in row))
    missing = []
    if prompt_column_of(rows, columns) not in present:
        missing.append(("prompt_column", columns.prompt_column))
    if (
        columns.require_answer
        and columns.answer_column not in present
        and "reward_model" not in present
        and "reasoning_gym_entry" not in present
    ):
        missing.append(("answer_column", columns.answer_column))
    if columns.id_column is not None and columns.id_column not in present:
        missing.append(("id_column", columns.id_column))
    for setting, name in missing:
        raise DataError(
            f"{source} has no column {name!r}; name the right one in {setting} (it has {', '.join(present)})"
        )
    for name in RESERVED:
        if name in present:
            raise DataError(f"{source} has a column {name!r}, a name that TRL reserves; rename the column")
    return rows
