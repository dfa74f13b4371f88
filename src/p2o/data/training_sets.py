r"""The paper's training and dev sets, from the data sets of the hub (``p2o data deepscaler | deepmath``).

    rows of the source ─► usable ones ─► difficulty ─► balanced answer types ─► shuffled ─► dev, train ─► files

What the paper and its reference do is kept (zlkqz/P2O, scripts/data_process, read for its behaviour): question prefix,
difficulty threshold, balance, 500 rows for dev, seed 42. The draws are Python's, not those of `datasets`, so the
rows are not the very ones of the reference. Different on purpose: repeated questions are left out (one could
else stand in train and in dev), rows whose answer the verifier cannot read are left out, a set that is too small is
an error, and the smaller training set is a part of the larger one.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.files import write_json
from ..core.solutions import SOLUTION
from ..errors import DataError
from .columns import DataRow
from .paper_rows import as_row, as_text, read_source, write_rows

DEV_SIZE = 500
SEED = 42
MOST_YES_NO = 20
"""At most one row in 20 is a yes/no question (5 %)."""


@dataclass(frozen=True)
class TrainingSet:
    """Where a training set comes from, and its columns."""

    name: str
    hub: str
    question: str
    answer: str
    solution: str
    difficulty: str | None = None
    threshold: float | None = None
    """Difficulty in the paper; rows below it are left out."""
    kept: tuple[str, ...] = ()
    """Columns that go into ``extra_info``."""


TRAINING_SETS: Mapping[str, TrainingSet] = {
    "deepscaler": TrainingSet("deepscaler", "agentica-org/DeepScaleR-Preview-Dataset", "problem", "answer", "solution"),
    "deepmath": TrainingSet(
        "deepmath",
        "zwhe99/DeepMath-103K",
        "question",
        "final_answer",
        "r1_solution_1",
        "difficulty",
        7.0,
        ("difficulty", "topic"),
    ),
}


@dataclass
class Prepared:
    """What was made of a source."""

    train: list[DataRow]
    dev: list[DataRow]
    left_out: dict[str, int]
    """Reason → rows of the source that are in neither part for that reason."""


def answer_type(answer: str) -> str:
    """What kind of answer this is, for the balance (the reference's kinds)."""
    text = answer.strip()
    for kind, pattern in (
        ("yes_no", r"yes|no|true|false"),
        ("choice", r"[a-z]|\([a-z]\)"),
        ("number", r"-?\d+(?:\.\d+|/\d+)?"),
        ("percentage", r"-?\d+\.?\d*%"),
        ("unit", r"-?\d+\.?\d*\s*[a-z]+"),
        ("symbols", r".*[√π∞∑∫].*"),
        ("interval", r"[\[(].*,.*[\])]"),
    ):
        if re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
            return kind
    return "text" if len(text.split()) > 5 else "other"


def balance(rows: Sequence[DataRow], rng: random.Random) -> list[DataRow]:
    """Balances the answer types of rows of one difficulty: the types other than yes/no share 95 % of the rows by the
    square roots of their counts (each at most what there is of it), yes/no gets at most 5 % of what is taken."""
    by_type: dict[str, list[DataRow]] = {}
    for row in rows:
        by_type.setdefault(answer_type(row["reward_model"]["ground_truth"]), []).append(row)
    yes_no = by_type.pop("yes_no", [])
    room = len(rows) * (MOST_YES_NO - 1) // MOST_YES_NO
    total = sum(math.sqrt(len(group)) for group in by_type.values())
    taken: list[DataRow] = []
    for _, group in sorted(by_type.items()):
        taken += rng.sample(group, min(len(group), int(room * math.sqrt(len(group)) / total)))
    return taken + rng.sample(yes_no, min(len(yes_no), len(taken) // (MOST_YES_NO - 1)))


def balance_levels(rows: Sequence[DataRow], rng: random.Random) -> list[DataRow]:
    """`balance`, for each difficulty by itself, as the reference does."""
    levels: dict[float, list[DataRow]] = {}
    for row in rows:
        levels.setdefault(row["extra_info"]["difficulty"], []).append(row)
    return [row for level in sorted(levels) for row in balance(levels[level], rng)]


def usable_rows(
    rows: Iterable[Mapping[str, Any]], source: TrainingSet, left_out: Counter[str], solved: bool = False
) -> list[DataRow]:
    """The rows with a question, an answer and (where the set has one) a difficulty; counts the others.

    Args:
        solved: leave out rows without a solution too.
    """
    found: dict[str, DataRow] = {}
    for index, row in enumerate(rows):
        question, answer, solution = (as_text(row.get(n)) for n in (source.question, source.answer, source.solution))
        level = row.get(source.difficulty) if source.difficulty else None
        if not question:
            left_out["without a question"] += 1
        elif not answer:
            left_out["without an answer"] += 1
        elif solved and not solution:
            left_out["without a solution"] += 1
        elif source.difficulty and not _is_number(level):
            left_out["without a difficulty"] += 1
        elif question in found:
            left_out["with a question seen before"] += 1
        else:
            extra = {name: row.get(name) for name in source.kept}
            made = as_row(source.name, index, "train", question, answer, **extra)
            found[question] = {**made, SOLUTION: solution}
    return list(found.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


Readable = Callable[[Sequence[str]], list[bool]]
"""Tells of each answer whether the verifier can read it (`p2o.rewards.readable_answers`)."""


def prepare(
    rows: Iterable[Mapping[str, Any]],
    source: TrainingSet,
    size: int,
    readable: Readable,
    *,
    dev: int = DEV_SIZE,
    threshold: float | None = None,
    seed: int = SEED,
    solved: bool = False,
) -> Prepared:
    """The training and the dev set of a source.

    Args:
        size, dev: rows of the two parts.
        readable: tells the answers that can be verified; rows with another answer are left out.
        threshold: rows below this difficulty are left out (only for sets with a difficulty).
        solved: rows without a solution are left out.

    Raises:
        DataError: fewer usable rows than ``size + dev``.
    """
    left_out: Counter[str] = Counter()
    chosen = usable_rows(rows, source, left_out, solved)
    rng = random.Random(seed)
    if source.difficulty and threshold is not None:
        hard = [r for r in chosen if r["extra_info"]["difficulty"] >= threshold]
        left_out[f"below difficulty {threshold:g}"] = len(chosen) - len(hard)
        chosen = balance_levels(hard, rng)
        left_out["by the balance of answer types"] = len(hard) - len(chosen)
    rng.shuffle(chosen)
    taken: list[DataRow] = []
    while chosen and len(taken) < size + dev:
        batch, chosen = chosen[: size + dev - len(taken)], chosen[size + dev - len(taken) :]
        answers = readable([r["reward_model"]["ground_truth"] for r in batch])
        taken += [row for row, good in zip(batch, answers, strict=True) if good]
        left_out["with an answer that cannot be read"] += answers.count(False)
    if len(taken) < size + dev:
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise DataError(
            f"{source.name} leaves {len(taken)} rows, and {size} for training and {dev} for dev were asked for "
            f"(left out: {reasons or 'none'}); lower --size, --dev or --difficulty"
        )
    for row in taken[:dev]:
        row["extra_info"]["split"] = "dev"
    left_out["not drawn"] = len(chosen)
    return Prepared(taken[dev:], taken[:dev], {reason: n for reason, n in left_out.items() if n})


def prepare_to(
    name: str,
    out: Path | None,
    readable: Readable,
    *,
    size: int,
    dev: int,
    difficulty: float | None,
    seed: int,
    source: str,
    solved: bool = False,
) -> tuple[Prepared, list[Path]]:
    """``p2o data NAME``: reads, prepares and writes.

    Returns:
        What was made, and the files (training, dev, and ``prepared.json``, which says how).

    Raises:
        DataError: no such source, no network, too few rows, or a difficulty for a set that has none.
    """
    training_set = TRAINING_SETS[name]
    if difficulty is not None and training_set.difficulty is None:
        raise DataError(f"{name} has no difficulty to filter by; leave --difficulty out")
    threshold = training_set.threshold if difficulty is None else difficulty
    folder = out or Path("data") / (name if threshold is None else f"{name}-{threshold:g}")
    kept = (training_set.solution, *training_set.kept)
    rows = read_source(source, training_set.hub, training_set.question, training_set.answer, *kept)
    made = prepare(rows, training_set, size, readable, dev=dev, threshold=threshold, seed=seed, solved=solved)
    files = write_rows(made.train, folder, f"train_{size}") + write_rows(made.dev, folder, f"dev_{dev}")
    facts = {"source": source or training_set.hub, "difficulty": threshold, "seed": seed, "size": size, "dev": dev}
    write_json(folder / f"prepared_{size}.json", {**facts, "solved": solved, "left_out": made.left_out})
    return made, [*files, folder / f"prepared_{size}.json"]
