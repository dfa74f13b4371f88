"""From samples to the data set that TRL trains on, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..base.text import one_line
from ..core.samples import Sample
from ..errors import DataError
from .row import content_id, numbered, stable_id

NO_PROMPT = ({"role": "user", "content": ""},)
"""The prompt of a row without one, whose environment says the task (TRL's rule)."""


def to_dataset(samples: Sequence[Sample]) -> Any:
    """The `datasets.Dataset` for TRL: ``prompt`` (messages), ``sample_id``, ``answer``, all other columns.

    Raises:
        DataError: a column holds values of several types, integers beyond 64 bits or invalid text; names the column.
    """
    import datasets
    import pyarrow

    names = dict.fromkeys(name for sample in samples for name in sample.columns)
    table: dict[str, list[Any]] = {name: [sample.columns.get(name) for sample in samples] for name in names}
    table["prompt"] = [[dict(message) for message in sample.messages] for sample in samples]
    table["sample_id"] = [sample.id for sample in samples]
    table["answer"] = [sample.answer for sample in samples]
    for name, values in table.items():
        try:
            pyarrow.array(values)
        except OverflowError:
            raise DataError(f"column {name!r} holds integers beyond 64 bits; write them as text or drop it") from None
        except UnicodeError:
            raise DataError(f"column {name!r} holds text that is not valid Unicode; fix or drop it") from None
        except pyarrow.ArrowException as error:
            reason = one_line(str(error))
            raise DataError(f"column {name!r} mixes types and cannot be kept ({reason}); fix or drop it") from None
    return datasets.Dataset.from_dict(table)


def row_of(sample: Sample) -> dict[str, Any]:
    """The row of a sample in `to_dataset`."""
    messages = [dict(message) for message in sample.messages]
    return {**sample.columns, "prompt": messages, "sample_id": sample.id, "answer": sample.answer}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row that came back from TRL: the inverse of `to_dataset`.

    Rows of other data sets will do: a text prompt becomes a user message, a missing ``sample_id`` a hash. The id is
    text, whatever the column holds. Without a prompt (an environment says the task) it is an empty user message, and
    the hash is of all columns.
    """
    prompt, answer = row.get("prompt", NO_PROMPT), row.get("answer")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = None if answer is None else str(answer)
    sample_id = row.get("sample_id")
    if sample_id is None:
        known = [] if text is None else [text]
        sample_id = stable_id(messages, known if "prompt" in row else [*known, str(sorted(row.items()))])
    others = {name: value for name, value in row.items() if name not in ("prompt", "answer", "sample_id")}
    return Sample(str(sample_id), messages, text, others, text=prompt if isinstance(prompt, str) else None)


def with_sample_ids(dataset: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """A user's `datasets.Dataset` for TRL with a column ``sample_id`` of unique texts, and its rows by that id.

    Ids that the data set brings become text; a row without one gets a hash of prompt and answer. Rows that repeat
    are kept, as TRL does: the second has the id of the first with ``#2``, the third with ``#3``.

    Raises:
        DataError: two rows with the same id differ.
    """
    first: dict[str, str] = {}
    rows = list(dataset)
    samples = [sample_of(row) for row in rows]
    for sample in samples:
        content = content_id(sample)
        if first.setdefault(sample.id, content) != content:
            raise DataError(f"two rows of the data set have the same sample_id {sample.id!r} and differ; fix one")
    ids = numbered(sample.id for sample in samples)
    by_id = {i: {**row, "sample_id": i} for i, row in zip(ids, rows, strict=True)}
    if "sample_id" not in dataset.column_names:
        return dataset.add_column("sample_id", ids), by_id
    if [row["sample_id"] for row in rows] != ids:
        dataset = dataset.remove_columns("sample_id").add_column("sample_id", ids)
    return dataset, by_id


def check_prompts(samples: Iterable[Sample], templated: bool = True) -> None:
    """Checks that every sample is text, and that a template can stand in front of it.

    Args:
        templated: False: no template will.

    Raises:
        DataError: a prompt holds a picture or another part that is no text, or it has no user message.
    """
    for sample in samples:
        for message in sample.messages:
            parts = message.get("content")
            kinds = [part.get("type") for part in parts] if isinstance(parts, list) else []
            if any(kind != "text" for kind in kinds):
                raise DataError(
                    f"the prompt of sample {sample.id!r} has a part that is no text, and templates, ratios and "
                    "evaluations are for text; drop the row, or use trl.GRPOTrainer"
                )
        if templated and not any(message["role"] == "user" for message in sample.messages):
            raise DataError(
                f"the prompt of sample {sample.id!r} has no user message for a template to stand in front of; add one, "
                "or use trl.GRPOTrainer"
            )
