"""From a row to the parts of a sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.samples import Message
from ..errors import DataError
from .columns import DataColumns, Row


def messages_of(prompt: Any, place: str) -> list[dict[str, str]]:
    """The chat messages of a prompt; a text becomes one user message. Raises DataError naming the place."""
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}]
    if not prompt or isinstance(prompt, str):
        raise DataError(f"{place} has no prompt; fill it in or drop the row")
    if not isinstance(prompt, list) or not all(isinstance(message, Mapping) for message in prompt):
        raise DataError(f"the prompt in {place} is neither text nor a list of chat messages")
    for message in prompt:
        if message.get("role") not in ("system", "user", "assistant") or not isinstance(message.get("content"), str):
            raise DataError(
                f"a message in {place} is not of the form {{role: system, user or assistant, content: text}}"
            )
    if not any(message["role"] == "user" and message["content"].strip() for message in prompt):
        raise DataError(f"the prompt in {place} has no user message with text; add one or drop the row")
    return [{"role": message["role"], "content": message["content"]} for message in prompt]


def prompted(messages: list[dict[str, str]], columns: DataColumns) -> list[dict[str, str]]:
    """With the system prompt, and prefix and suffix around the last user message."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    text = f"{columns.prompt_prefix}{messages[last]['content']}{columns.prompt_suffix}"
    messages = [*messages[:last], {"role": "user", "content": text}, *messages[last + 1 :]]
    if columns.system_prompt is not None and all(message["role"] != "system" for message in messages):
        messages = [{"role": "system", "content": columns.system_prompt}, *messages]
    return messages


def answers_of(row: Row, place: str, columns: DataColumns) -> list[str]:
    """All right answers of a row; none only where that is allowed."""
    value = row.get(columns.answer_column)
    if value is None and isinstance(row.get("reward_model"), Mapping):
        value = row["reward_model"].get("ground_truth")
        if isinstance(value, Mapping):
            value = value.get("target")
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str | int | float) for item in values):
        raise DataError(f"the answer in {place} is neither text nor a number")
    answers = [str(item) for item in values if str(item).strip()]
    if not answers and columns.require_answer and "reasoning_gym_entry" not in row:
        raise DataError(f"{place} has no answer; fill it in, drop the row, or set require_answer to false")
    return answers


def given_ids(source: str, rows: Sequence[Row], columns: DataColumns) -> list[str] | None:
    """The ids that the rows bring; None: make them from the text."""
    name = columns.id_column
    if name is None and all(row.get("id") is not None for row in rows):
        name = "id"
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
    text = json.dumps([[[m["role"], m["content"]] for m in messages], list(answers)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
