"""From a row to the parts of a sample."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.samples import Message, Sample, content_text
from ..errors import DataError
from .columns import DataColumns, DataRow

ROLES = ("system", "developer", "user", "assistant", "tool")
PICTURES = ("image", "images")
"""Columns that hold pictures in TRL."""


def messages_of(prompt: Any, place: str) -> list[dict[str, str]]:
    """The chat messages of a prompt, their contents as text; a text becomes one user message.

    Raises:
        DataError: it is no prompt, it holds a picture, or it has no user message with text; names the place.
    """
    if isinstance(prompt, str) and prompt.strip():
        prompt = [{"role": "user", "content": prompt}]
    if not prompt or isinstance(prompt, str):
        raise DataError(f"{place} has no prompt; fill it in or drop the row")
    if not isinstance(prompt, list) or not all(isinstance(message, Mapping) for message in prompt):
        raise DataError(f"the prompt in {place} is neither text nor a list of chat messages")
    messages = [{"role": message.get("role"), "content": _content_of(message, place)} for message in prompt]
    for message in messages:
        if message["role"] not in ROLES:
            raise DataError(f"a message in {place} has the role {message['role']!r}; use one of {', '.join(ROLES)}")
        _check_unicode(message["content"], f"the prompt in {place}")
    if not any(message["role"] == "user" and message["content"].strip() for message in messages):
        raise DataError(f"the prompt in {place} has no user message with text; add one or drop the row")
    return messages


def _content_of(message: Mapping[str, Any], place: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise DataError(f"the content of a message in {place} is neither text nor a list of parts; write it as text")
    for part in content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise DataError(
                f"a message in {place} has a part of type {part.get('type')!r}; templates are for text alone, so drop "
                "the row, or train it with trl.GRPOTrainer"
            )
    return content_text(content)


def _check_unicode(text: str, what: str) -> None:
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(f"{what} is not valid Unicode (it holds half of a surrogate pair); fix or drop the row")


def prompted(messages: list[dict[str, str]], columns: DataColumns) -> list[dict[str, str]]:
    """The messages with the system prompt, and with prefix and suffix around the last user message."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    text = f"{columns.prompt_prefix}{messages[last]['content']}{columns.prompt_suffix}"
    messages = [*messages[:last], {"role": "user", "content": text}, *messages[last + 1 :]]
    if columns.system_prompt is not None and all(message["role"] != "system" for message in messages):
        messages = [{"role": "system", "content": columns.system_prompt}, *messages]
    return messages


def answers_of(row: DataRow, place: str, columns: DataColumns) -> list[str]:
    """All right answers of a row; none only where that is allowed.

    Raises:
        DataError: the row has no answer, or one that is neither text nor a number; names the place.
    """
    value = row.get(columns.answer_column)
    if value is None and isinstance(row.get("reward_model"), Mapping):
        value = row["reward_model"].get("ground_truth")
        if isinstance(value, Mapping):
            value = value.get("target")
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise DataError(f"the answer in {place} is neither text nor a number; write it as text")
    answers = [str(item) for item in values if str(item).strip()]
    if not answers and columns.require_answer and "reasoning_gym_entry" not in row:
        raise DataError(f"{place} has no answer; fill it in, drop the row, or set require_answer to false")
    for answer in answers:
        _check_unicode(answer, f"the answer in {place}")
    return answers


def given_ids(source: str, rows: Sequence[DataRow], columns: DataColumns) -> list[str] | None:
    """The ids that the rows bring, as text; None: make them from the text.

    Raises:
        DataError: a row has none in the column that was named.
    """
    name = columns.id_column
    if name is None:
        name = next((n for n in ("sample_id", "id") if all(row.get(n) is not None for row in rows)), None)
    if name is not None:
        for number, row in enumerate(rows, start=1):
            if row.get(name) is None:
                raise DataError(f"row {number} of {source} has no {name!r}; fill it in or set no id_column")
        return [str(row[name]) for row in rows]
    infos = [info for row in rows if isinstance(info := row.get("extra_info"), Mapping)]
    if len(infos) < len(rows) or any(info.get("index") is None for info in infos):
        return None
    ids = [
        f"{row.get('data_source', '')}:{info.get('split', '')}:{info['index']}"
        for row, info in zip(rows, infos, strict=True)
    ]
    return ids if len(set(ids)) == len(ids) else None  # files joined from several sources repeat them


def stable_id(messages: Sequence[Message], answers: Sequence[str]) -> str:
    """16 hexadecimal digits made from roles, contents and answers alone."""
    text = json.dumps([[[m["role"], m.get("content")] for m in messages], list(answers)], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_id(sample: Sample) -> str:
    """`stable_id` of a sample, whatever id it was given: equal for the same prompt and answer of two files."""
    return stable_id(sample.messages, [] if sample.answer is None else [sample.answer])


def numbered(ids: Iterable[str]) -> list[str]:
    """Ids made unique: the second ``x`` becomes ``x#2``, the third ``x#3``."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    unique = []
    for name in ids:
        seen[name] += 1
        new = name if seen[name] == 1 else f"{name}#{seen[name]}"
        while new in taken:  # a given id may look like a numbered one
            seen[name] += 1
            new = f"{name}#{seen[name]}"
        taken.add(new)
        unique.append(new)
    return unique
