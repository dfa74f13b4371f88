"""Reads a run directory. Whatever a run has not written (yet) is left out, not an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...base.files import read_json
from ...core.evolve import Evolution
from ...errors import StateError
from ...trl.checkpoint import checkpoints


@dataclass
class Epoch:
    """One epoch: its summary, what each sample earned, the templates of the next epoch, rollouts to read."""

    number: int
    """From 0."""
    summary: dict[str, Any]
    tallies: dict[str, dict[str, int]]
    pool: list[dict[str, Any]]
    """The pool after the prompt step that followed."""
    assignment: dict[str, list[str]]
    record: dict[str, Any] = field(default_factory=dict)
    """`p2o.core.rollout_log.EpochRecord`'s file; empty if the run kept none."""


@dataclass
class Run:
    """All that a report needs of one run."""

    name: str
    path: Path
    epochs: list[Epoch]
    evolutions: dict[int, Evolution]
    """By the epoch (from 0) after which they ran."""
    log: list[dict[str, Any]]
    cost: dict[str, Any]
    result: dict[str, Any]
    config: str

    def logged(self, key: str) -> list[tuple[float, float]]:
        """(epoch, value) wherever the log has the key."""
        return [(row["epoch"], row[key]) for row in self.log if row.get(key) is not None and "epoch" in row]


def read_run(path: Path) -> Run:
    """Reads a run directory.

    Raises:
        StateError: it holds no run, or a file of another version.
    """
    own = path / "p2o"
    if not own.is_dir():
        raise StateError(f"there is no run in {path}: it has no p2o folder")
    epochs = [_epoch(own, file) for file in sorted(own.glob("epoch-*.json"))]
    evolutions = {}
    for folder in sorted(own.glob("evolution-*")):
        number = int(folder.name.rpartition("-")[2])
        if (folder / "evolution.json").exists():
            evolutions[number - 1] = Evolution.from_dict(read_json(folder / "evolution.json"))
    config = path / "config.yaml"
    return Run(
        name=path.resolve().name,
        path=path,
        epochs=epochs,
        evolutions=evolutions,
        log=_log(path),
        cost=_optional(own / "cost.json"),
        result=_optional(own / "result.json"),
        config=config.read_text(encoding="utf-8") if config.exists() else "",
    )


def _epoch(own: Path, file: Path) -> Epoch:
    content = read_json(file)
    number = int(content["summary"]["epoch"])
    record = _optional(own / f"rollouts-{number:03d}.json")
    return Epoch(number, content["summary"], content["tallies"], content["pool"], content["assignment"], record)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _log(path: Path) -> list[dict[str, Any]]:
    """The metrics of a finished run, or those of the newest checkpoint of one that is under way or was killed."""
    for rows in _logs(path):
        if rows:
            return rows
    return []


def _logs(path: Path) -> Iterator[list[dict[str, Any]]]:
    yield _optional(path / "p2o" / "metrics.json").get("log", [])
    for checkpoint in reversed(checkpoints(path)):
        try:
            yield json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        except (OSError, ValueError, KeyError):
            continue
