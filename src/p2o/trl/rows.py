"""The training rows for TRL, each with a stable text id; and the arguments that P2OTrainer refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.samples import Sample
from ..data import sample_of, with_sample_ids
from ..errors import ConfigError

REFUSED_ARGUMENTS = {
    "tools": "rollouts with tools have several turns, and templates are put into single-turn rollouts only",
    "environment_factory": "rollouts in an environment have several turns, and templates are put into single-turn "
    "rollouts only",
    "rollout_func": "a rollout function draws the rollouts itself, so that no template can be put in front",
}
"""Arguments of GRPOTrainer that P2OTrainer does not take, and why."""


@dataclass(frozen=True)
class TrainingRows:
    """The training data."""

    dataset: Any
    """The data set for TRL, with a text column ``sample_id``."""
    by_id: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Sample]
    ids_are_ours: bool
    """The user's data has no column ``sample_id``, so reward functions must not get it."""


def refuse_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises ConfigError for an argument of GRPOTrainer that P2OTrainer does not take."""
    for name, why in REFUSED_ARGUMENTS.items():
        if arguments.get(name) is not None:
            raise ConfigError(f"P2OTrainer takes no {name}: {why}; use trl.GRPOTrainer for it")


def training_rows(dataset: Any) -> TrainingRows:
    """Gives every row an id: the column ``sample_id`` as text, else a hash. Repeated rows get ``id#2``, ``id#3``.

    Raises:
        ConfigError: no data set, one of unknown length, or one with images.
    """
    if dataset is None:
        raise ConfigError("P2OTrainer needs a train_dataset: the ledger counts the successes of its samples")
    if not hasattr(dataset, "__len__"):
        raise ConfigError(
            "P2OTrainer takes no iterable train_dataset: it must know every sample by its id; load it into a "
            "datasets.Dataset"
        )
    refuse_images(dataset, "train_dataset")
    ours = "sample_id" not in dataset.column_names
    dataset = with_sample_ids(dataset)
    by_id = {row["sample_id"]: row for row in dataset}
    return TrainingRows(dataset, by_id, {i: sample_of(row) for i, row in by_id.items()}, ours)


def refuse_images(dataset: Any, name: str) -> None:
    """Raises ConfigError for a data set with images."""
    for column in {"image", "images"} & set(dataset.column_names or ()):
        raise ConfigError(
            f"P2OTrainer takes no images, and {name} has a column {column!r}; remove it, or use trl.GRPOTrainer"
        )
