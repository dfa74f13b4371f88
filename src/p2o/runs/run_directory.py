"""The one reader of a run directory. Files that a run has not written (yet) are empty here, not an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ..base.files import read_json
from ..base.rows import METRICS_FILE, read_rows
from ..core.epoch_files import read_epoch
from ..core.evolve import Evolution
from ..core.hard import Tally
from ..core.templates import PoolTemplate, pool_from_json
from ..errors import StateError

COMPLETE = "complete.json"
"""The file that is written last."""


@dataclass
class Epoch:
    """One epoch: its summary, what each sample earned, the templates of the next epoch, rollouts to read."""

    number: int
    """From 0."""
    summary: dict[str, Any]
    """The fields of `p2o.core.loop.EpochSummary`."""
    tallies: dict[str, Tally]
    """Sample id → counts of its rollouts."""
    pool: list[dict[str, Any]]
    """The pool after the prompt step that followed."""
    assignment: dict[str, list[str]]
    """Sample id → the templates of its rollouts in the next epoch."""
    record: dict[str, Any] = field(default_factory=dict)
    """`p2o.core.rollout_log.RolloutLog`'s file; empty if the run kept none."""


@dataclass(frozen=True)
class LastPool:
    """The pool of a run's newest evolution."""

    pool: list[PoolTemplate]
    epoch: int
    """The epoch after which it was evolved, from 0."""
    dev_size: int


class Run:
    """A run directory. Each file is read when it is first asked for.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.own = path / "p2o"
        self.name = path.resolve().name

    @property
    def complete(self) -> bool:
        """Whether all of it was written: the result, the model card, the pool and the report."""
        return (self.own / COMPLETE).exists()

    @property
    def holds_evolution(self) -> bool:
        """Whether ``p2o evolve`` made it, and not a training."""
        return (self.own / "pool.json").exists() and not (self.path / "config.yaml").exists()

    @cached_property
    def epochs(self) -> list[Epoch]:
        """The epochs, oldest first."""
        return sorted((_epoch(self.own, file) for file in self.own.glob("epoch-*.json")), key=lambda e: e.number)

    @cached_property
    def evolutions(self) -> dict[int, Evolution]:
        """The evolutions by the epoch (from 0) after which they ran. Those that were set aside are left out."""
        found = {}
        for folder in sorted(self.own.glob("evolution-*")):
            number = re.fullmatch(r"evolution-(\d+)", folder.name)
            if number and (folder / "evolution.json").exists():
                found[int(number[1]) - 1] = Evolution.from_dict(read_json(folder / "evolution.json"))
        return found

    @cached_property
    def last_pool(self) -> LastPool | None:
        """The pool of the newest evolution; None if nothing was evolved."""
        for epoch in reversed(self.epochs):
            if epoch.summary["evolved"]:
                return LastPool(pool_from_json(epoch.pool), epoch.number, epoch.summary["dev_size"])
        return None

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """All figures of each logging step, evaluation and epoch."""
        return read_rows(self.own / METRICS_FILE)

    @cached_property
    def cost(self) -> dict[str, Any]:
        """What was spent so far, by phase (`p2o.core.cost`)."""
        return self._read("cost.json")

    @cached_property
    def before(self) -> dict[str, Any]:
        """``metrics`` and ``outcomes`` of the starting policy on the held-out data."""
        return self._read("before.json")

    @cached_property
    def result(self) -> dict[str, Any]:
        """Metrics and outcomes of all held-out samples before and after, their groups, cost, seconds."""
        return self._read("result.json")

    @cached_property
    def config(self) -> str:
        """The resolved recipe, as YAML."""
        file = self.path / "config.yaml"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of the resolved recipe, by their keys; empty for a run that was made from Python."""
        content = yaml.safe_load(self.config) if self.config else {}
        return content if isinstance(content, dict) else {}

    @property
    def of_verl(self) -> bool:
        """Whether verl trained it: its settings then hold P²O's, and verl's whole configuration under ``verl``."""
        return "verl" in self.settings

    def logged(self, key: str) -> list[tuple[float, float]]:
        """(epoch, value) wherever the log has the key."""
        return [(row["epoch"], row[key]) for row in self.log if row.get(key) is not None and "epoch" in row]

    def _read(self, name: str) -> dict[str, Any]:
        return _read_if_there(self.own / name)


def read_run(path: Path) -> Run:
    """The run in a directory.

    Raises:
        StateError: there is none. A file that is damaged or of another version is an error when it is read.
    """
    run = Run(path)
    if not run.own.is_dir():
        raise StateError(f"there is no run in {path}: it has no p2o folder")
    return run


def _epoch(own: Path, file: Path) -> Epoch:
    content = read_epoch(file)
    number = int(content["summary"]["epoch"])
    record = _read_if_there(own / f"rollouts-{number:03d}.json")
    return Epoch(number, **content, record=record)


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}
