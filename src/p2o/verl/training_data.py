"""Rows of verl's training data as samples. Does not import verl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.samples import Sample
from ..core.solutions import SOLUTION, STEPS
from ..data import stable_id
from ..errors import ConfigError, DataError
from . import NAME

ENVIRONMENT_COLUMNS = ("tools_kwargs", "interaction_kwargs")
"""verl's columns with which a row sets up its tools and its environment."""

ROW_COLUMNS = ("raw_prompt", "reward_model", "agent_name", *ENVIRONMENT_COLUMNS)
"""verl's columns that this module reads."""


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample of a row; its id is a hash of prompt, answer and what sets up its environment (verl's ``index`` may be
    missing, and its ``uid`` is new at each fetch)."""
    messages = [{"role": m["role"], "content": m["content"]} for m in row["raw_prompt"]]
    gold = (row.get("reward_model") or {}).get("ground_truth")
    answer = None if gold is None else str(gold)
    environment = [json.dumps(row[name], sort_keys=True, default=str) for name in ENVIRONMENT_COLUMNS if row.get(name)]
    sample_id = stable_id(messages, [*([] if answer is None else [answer]), *environment])
    told = {name: list(row[name]) if name == STEPS else row[name] for name in (SOLUTION, STEPS) if name in row}
    return Sample(sample_id, messages, answer, told)


def agent_of(row: Mapping[str, Any], default: str) -> str:
    """The agent loop that rolls a row out: its ``agent_name``, or the default."""
    return str(row.get("agent_name") or default)


def check_size(rows: int, batch_size: int) -> None:
    """Raise DataError for data that fills no batch: verl drops what is left over."""
    if rows < batch_size:
        raise DataError(
            f"data.train_files holds {rows} samples, fewer than data.train_batch_size {batch_size}; lower it"
        )


def read_samples(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, Sample]]:
    """Sample id → number of its first row (from 0), and the sample.

    Raises:
        ConfigError: a row names P²O as its agent loop.
        DataError: a row is not a chat of texts with a question.
    """
    found: dict[str, tuple[int, Sample]] = {}
    for n, row in enumerate(rows):
        if row.get("agent_name") == NAME:
            raise ConfigError(
                f"row {n + 1} of data.train_files has agent_name {NAME!r}, which is P²O itself; name the agent loop "
                "that it is to roll out with, or drop the column"
            )
        if not _is_chat_of_texts(row.get("raw_prompt")):
            raise DataError(
                f"row {n + 1} of data.train_files is not a chat of texts with a question of the user; P²O on verl "
                "takes no images, and needs a user message for the template to stand in"
            )
        sample = sample_of(row)
        found.setdefault(sample.id, (n, sample))
    return found


def _is_chat_of_texts(messages: Any) -> bool:
    if messages is None or isinstance(messages, str):
        return False
    if not all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in messages):
        return False
    questions = [m["content"] for m in messages if m["role"] == "user"]
    return bool(questions) and bool(questions[-1].strip())
