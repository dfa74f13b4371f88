"""One JSON file for each epoch, for a person and for the report: figures, tallies, pool and assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..base.files import write_json
from .hard import Tally
from .summary import EpochSummary


def write_epoch(
    folder: Path,
    summary: EpochSummary,
    tallies: Mapping[str, Tally],
    pool: Sequence[Mapping[str, Any]],
    assignment: Mapping[str, Sequence[str]],
) -> None:
    """Writes an epoch's file. An epoch that is repeated after a resume overwrites its own file.

    Args:
        folder: the run's ``p2o`` folder.
        tallies: sample id → its rollouts in the epoch.
        pool, assignment: the scaffolds of the next epoch.
    """
    content = {
        "summary": asdict(summary),
        "tallies": {i: asdict(tallies[i]) for i in sorted(tallies)},
        "pool": list(pool),
        "assignment": assignment,
    }
    write_json(folder / f"epoch-{summary.epoch:03d}.json", content)


def forget_epochs_from(folder: Path, epoch: int) -> None:
    """Removes the files of this epoch and of later ones: an earlier run wrote them, and this one repeats them."""
    for path in folder.glob("epoch-*.json"):
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and int(number) >= epoch:
            path.unlink()
