"""The paper's evaluation sets by name (``p2o data eval NAME``), and its protocol.

The paper names the benchmarks, not the copies it used; these are the usual ones of the hub. Sizes in brackets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from .columns import DataRow
from .paper_rows import as_row, as_text, read_source, write_rows

FEW = 100
"""Sets with fewer items are evaluated by the mean of `MANY_DRAWS` samples, larger ones greedily (the paper)."""
MANY_DRAWS = 16


@dataclass(frozen=True)
class EvalSet:
    """Where an evaluation set comes from, and its columns."""

    name: str
    hub: str
    split: str
    question: str
    answer: str
    size: int
    """Items, as published; tells the protocol before anything is downloaded."""


EVAL_SETS: Mapping[str, EvalSet] = {
    e.name: e
    for e in (
        EvalSet("aime24", "HuggingFaceH4/aime_2024", "train", "problem", "answer", 30),
        EvalSet("aime25", "math-ai/aime25", "test", "problem", "answer", 30),
        EvalSet("amc23", "math-ai/amc23", "test", "question", "answer", 40),
        EvalSet("math500", "HuggingFaceH4/MATH-500", "test", "problem", "answer", 500),
        EvalSet("minerva", "math-ai/minervamath", "test", "question", "answer", 272),
        EvalSet("olympiadbench", "math-ai/olympiadbench", "test", "question", "final_answer", 674),
    )
}


def draws(items: int) -> int:
    """Completions per item by the paper's protocol: 16 under 100 items (at the training temperature), else 1
    (greedy)."""
    return MANY_DRAWS if items < FEW else 1


def eval_rows(rows: Iterable[Mapping[str, Any]], source: EvalSet) -> list[DataRow]:
    """All rows of an evaluation set, in its order.

    A list of answers (OlympiadBench) holds the parts of one right answer, so they are joined.

    Raises:
        DataError: a row without a question or an answer; a benchmark is taken whole or not at all.
    """
    made = []
    for index, row in enumerate(rows):
        value = row.get(source.answer)
        parts = value if isinstance(value, list) else [value]
        answer = ", ".join(as_text(part).strip("$").strip() for part in parts)
        question = as_text(row.get(source.question))
        if not question or not answer.strip(", "):
            missing = "answer" if question else "question"
            raise DataError(f"row {index + 1} of {source.name} has no {missing}: this is not the benchmark; check it")
        made.append(as_row(source.name, index, "test", question, answer))
    return made


def eval_to(name: str, out: Path | None, source: str) -> tuple[int, list[Path]]:
    """``p2o data eval NAME``: reads, converts and writes an evaluation set.

    Returns:
        Its size, and the files.
    """
    evaluation = EVAL_SETS[name]
    rows = read_source(source, evaluation.hub, evaluation.question, evaluation.answer, split=evaluation.split)
    made = eval_rows(rows, evaluation)
    return len(made), write_rows(made, out or Path("data") / "eval", name)
