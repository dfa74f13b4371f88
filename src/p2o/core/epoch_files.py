"""One JSON file for each epoch, for a person and for the report: figures, tallies, pool and assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..base.files import read_json, write_json
from ..errors import StateError
from .hard import Tally
from .stored import SCHEMA, field_names, field_rows, from_field_rows, slots_by_number, slots_by_text
from .summary import EpochSummary


def write_epoch(
    folder: Path,
    summary: EpochSummary,
    tallies: Mapping[str, Tally],
    pool: Sequence[Mapping[str, Any]],
    assignment: Mapping[str, Sequence[str]],
) -> Path:
    """Writes an epoch's file. An epoch that is repeated after a resume overwrites its own file.

    Args:
        folder: the run's ``p2o`` folder.
        tallies: sample id → its rollouts in the epoch.
        pool, assignment: the scaffolds of the next epoch.
    """
    content = {
        "summary": asdict(summary),
        "pool": list(pool),
        **slots_by_number(assignment),
        "tally": field_names(Tally),
        "tallies": field_rows(tallies),
    }
    path = folder / f"epoch-{summary.epoch:03d}.json"
    write_json(path, content, SCHEMA)
    return path


def read_epoch(path: Path) -> dict[str, Any]:
    """What `write_epoch` was given, by the names of its arguments; ``summary`` as JSON has it.

    Raises:
        StateError: the file cannot be read, is of another version, or a part of it is missing.
    """
    content = read_json(path, SCHEMA)
    try:
        return {
            "summary": content["summary"],
            "tallies": from_field_rows(Tally, content["tallies"]),
            "pool": content["pool"],
            "assignment": slots_by_text(content),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"{path} is damaged ({type(error).__name__}: {error}); remove it, or restore a copy"
        ) from error


def forget_epochs_from(folder: Path, epoch: int) -> None:
    """Removes the files of this epoch and of later ones: an earlier run wrote them, and this one repeats them."""
    for path in folder.glob("epoch-*.json"):
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and int(number) >= epoch:
            path.unlink()
