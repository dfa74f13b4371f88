"""From samples to the data set that TRL trains on, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.samples import Sample
from ..errors import DataError
from .row import stable_id


def to_dataset(samples: Sequence[Sample]) -> Any:
    """The `datasets.Dataset` for TRL: ``prompt`` (messages), ``sample_id``, ``answer``, all other columns.

    Raises DataError if a column holds values of several types.
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
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"column {name!r} mixes types and cannot be kept ({reason}); drop or mend it") from None
    return datasets.Dataset.from_dict(table)


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row that came back from TRL: the inverse of `to_dataset`.

    Rows of other data sets will do: a text prompt becomes a user message, a missing ``sample_id`` a hash.
    """
    prompt, answer = row["prompt"], row.get("answer")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = None if answer is None else str(answer)
    sample_id = row.get("sample_id")
    if sample_id is None:
        sample_id = stable_id(messages, [] if text is None else [text])
    others = {name: value for name, value in row.items() if name not in ("prompt", "answer", "sample_id")}
    return Sample(str(sample_id), messages, text, others)
