"""What goes into an evolution: its samples, its folder and its seeds are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ...base.files import SCHEMA, read_json, write_json
from ...base.journal import digest
from ...errors import ConfigError, DataError, ForeignEvolutionError, StateError
from ..samples import Sample
from ..solutions import solution_of
from .config import EvolveConfig
from .leak import LeakGuard
from .result import Evolution
from .scorer import Scorer


def check_parts(train: Sequence[Sample], dev: Sequence[Sample]) -> None:
    """Raises DataError when a part is empty, or holds an id twice."""
    for name, part in (("train", train), ("dev", dev)):
        ids = [s.id for s in part]
        if not ids:
            raise DataError(f"the {name} part of the hard set is empty; an evolution needs both parts")
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise DataError(f"the sample id {twice!r} occurs twice in the {name} part; make the ids unique")


def fingerprint_of(train: Sequence[Sample], dev: Sequence[Sample], config: EvolveConfig, seeds: Sequence[str]) -> str:
    """A hash of all that the result of an evolution follows from, but for its policy and reflector."""
    parts = [[(s.id, [dict(m) for m in s.messages], s.answer) for s in part] for part in (train, dev)]
    solutions = [solution_of(s) for s in (*train, *dev)] if config.nearness else []
    return digest(SCHEMA, parts, solutions, asdict(config), list(seeds))


def claim_folder(run_dir: Path, fingerprint: str) -> Evolution | None:
    """Claims the folder for these inputs. Returns the finished result, if there is one.

    Raises:
        StateError: the folder cannot be written, or a file in it is damaged.
        ForeignEvolutionError: it holds an evolution with other inputs.
    """
    inputs, finished = run_dir / "inputs.json", run_dir / "evolution.json"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if not inputs.exists():
            write_json(inputs, {"fingerprint": fingerprint})
    except OSError as e:
        raise StateError(
            f"the evolution's folder {run_dir} cannot be written ({e.strerror}); use another folder"
        ) from e
    if read_json(inputs).get("fingerprint") != fingerprint:
        raise ForeignEvolutionError(
            f"{run_dir} holds an evolution with other samples, seeds or settings; use a new folder"
        )
    return Evolution.from_dict(read_json(finished)) if finished.exists() else None


def sort_seeds(seeds: Sequence[str], guard: LeakGuard) -> tuple[list[str], list[tuple[str, str]]]:
    """(Seeds that leak no answer, or "" when none is left; the others with the reason)."""
    reasons = {seed: guard.refuse(seed) for seed in seeds}
    clean = [seed for seed, reason in reasons.items() if reason is None]
    return clean or [""], [(seed, reason) for seed, reason in reasons.items() if reason is not None]


def affordable_seeds(seeds: list[str], dev: Sequence[Sample], scorer: Scorer, config: EvolveConfig) -> list[str]:
    """As many of the seeds, in order, as the budget can score on the dev part; ConfigError when it pays for none."""
    for count in range(len(seeds), 0, -1):
        if len(scorer.missing((t, s) for t in seeds[:count] for s in dev)) <= scorer.budget:
            return seeds[:count]
    raise ConfigError(
        f"the evolution's budget of {scorer.budget} metric calls ({config.budget!r}) does not pay for "
        f"scoring the seed on {len(dev)} dev samples; raise the budget, or lower the dev part's size"
    )
