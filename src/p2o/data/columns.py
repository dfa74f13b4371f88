"""Which columns of a data set make a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DataRow = dict[str, Any]
"""One row of a source, by column."""

FALLBACK_PROMPT_COLUMNS = ("question", "problem")
"""Taken in this order where there is no column ``prompt`` and none was named."""

RESERVED = (
    "prompts",
    "completions",
    "trainer_state",
    "log_extra",
    "log_metric",
)
"""Names that TRL itself passes to reward functions; no column may have them. (It leaves out ``completion`` and
``completion_ids`` by itself.)"""


@dataclass(frozen=True)
class DataColumns:
    """Which columns make a sample, and what is done to the prompt."""

    prompt_column: str = "prompt"
    """Text (becomes one user message), or chat messages, whose contents are text or lists of text parts. See
    FALLBACK_PROMPT_COLUMNS."""
    answer_column: str = "answer"
    """Text or number; a list holds several right answers."""
    solution_column: str | None = None
    """Kept under the name ``solution`` too, the column that methods with solutions read. None: ``solution`` itself."""
    id_column: str | None = None
    """None: ``sample_id`` or ``id`` if all rows have one, else verl's index if unique, else a hash of messages and
    answer. Ids are text: 7 becomes "7"."""
    system_prompt: str | None = None
    """Put in front of prompts that have no system message."""
    prompt_prefix: str = ""
    """Put directly before the text of the last user message (bring your own blank line)."""
    prompt_suffix: str = ""
    limit: int | None = None
    """Take a random subset of at most this many rows, in their order."""
    seed: int = 0
    """Of the random subset."""
    require_answer: bool = True
    """Refuse rows without an answer (reasoning-gym rows, which their own scorer checks, may have none)."""


DEFAULT_COLUMNS = DataColumns()


def prompt_column_of(rows: Sequence[DataRow], columns: DataColumns) -> str:
    """The prompt column, or the first fallback that is present if ``prompt`` is not."""
    if columns.prompt_column == "prompt" and not any("prompt" in row for row in rows):
        return next((name for name in FALLBACK_PROMPT_COLUMNS if any(name in row for row in rows)), "prompt")
    return columns.prompt_column
