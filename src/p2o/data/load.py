"""From a source to rows and samples."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

from ..base.text import clean_text, counted
from ..core.samples import RIGHT_ANSWERS, Sample
from ..core.solutions import SOLUTION
from ..errors import DataError
from .columns import DEFAULT_COLUMNS, RESERVED, DataColumns, DataRow, prompt_column_of
from .row import PICTURES, answers_of, given_ids, messages_of, prompted, stable_id
from .sources import read


def load_samples(source: str, *, split: str | None = None, columns: DataColumns = DEFAULT_COLUMNS) -> list[Sample]:
    """Reads a source (see the table in `p2o.data`) into samples with unique ids.

    Rows that repeat an earlier prompt and answer are left out, with a warning: in an evaluation they would count twice.

    Raises:
        DataError: the source cannot be read, or a row cannot be used; the sentence names the row (counted from 1,
            blank lines left out).
    """
    rows = load_rows(source, split=split, columns=columns)
    prompt_column = prompt_column_of(rows, columns)
    chosen = range(len(rows))
    if columns.limit is not None and columns.limit < len(rows):
        chosen = sorted(random.Random(columns.seed).sample(chosen, columns.limit))  # type: ignore[assignment]
    given = given_ids(source, rows, columns)
    samples: list[Sample] = []
    first: dict[str, tuple[int, str]] = {}
    copies = 0
    for index in chosen:
        place = f"row {index + 1} of {source}"
        messages = messages_of(rows[index].get(prompt_column), place)
        answers = answers_of(rows[index], place, columns)
        content = stable_id(messages, answers)
        sample_id = content if given is None else given[index]
        earlier, same = first.setdefault(sample_id, (index, content))
        if content != same:
            raise DataError(
                f"rows {earlier + 1} and {index + 1} of {source} have the same id {sample_id!r} and differ; "
                "fix one, or name another id_column"
            )
        if earlier != index:
            copies += 1
            continue
        others = {k: v for k, v in rows[index].items() if k not in ("prompt", "answer", "sample_id")}
        if columns.solution_column is not None:
            others[SOLUTION] = others.get(columns.solution_column)
        if len(answers) > 1:
            others[RIGHT_ANSWERS] = answers
        answer = answers[0] if answers else None
        samples.append(Sample(sample_id, prompted(messages, columns), answer, others, place))
    if copies:
        repeats = f"left out {copies} of {counted(len(chosen), 'row')} (same prompt and answer as an earlier row)"
        warnings.warn(clean_text(f"{source}: {repeats}"), stacklevel=2)
    return samples


def load_rows(
    source: str,
    *,
    split: str | None = None,
    columns: DataColumns = DEFAULT_COLUMNS,
    keep: Sequence[str] | None = None,
) -> list[DataRow]:
    """All rows of a source as they stand in it, once it is known that they have the columns.

    Args:
        keep: read these columns alone (parquet and HF data sets; long ones fill the memory).

    Raises:
        DataError: the source cannot be read, holds no rows, lacks a column, or has one of pictures or with a name
            that TRL needs for itself.
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
    if columns.solution_column is not None and columns.solution_column not in present:
        missing.append(("solution_column", columns.solution_column))
    if columns.id_column is not None and columns.id_column not in present:
        missing.append(("id_column", columns.id_column))
    for setting, name in missing:
        raise DataError(
            f"{source} has no column {name!r}; name the right one in {setting} (it has {', '.join(present)})"
        )
    for name in RESERVED:
        if name in present:
            raise DataError(f"{source} has a column {name!r}, a name that TRL reserves; rename the column")
    for name in PICTURES:
        if any(row.get(name) for row in rows):
            raise DataError(
                f"{source} has pictures in its column {name!r}, and templates are for text alone; drop the column, or "
                "train with trl.GRPOTrainer"
            )
    return rows
