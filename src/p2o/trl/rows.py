"""The training rows for TRL, each with a stable text id; and the arguments that P2OTrainer refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, IterableDataset

from ..core.samples import Sample
from ..data import check_prompts, sample_of, with_sample_ids
from ..data.trl_dataset import NO_PROMPT
from ..errors import ConfigError

REFUSED_ARGUMENTS = {
    "rollout_func": "a rollout function draws the rollouts itself, so that no template can be put in front",
}
"""Arguments of GRPOTrainer that P2OTrainer does not take, and why."""


@dataclass(frozen=True)
class TrainingRows:
    """The training data."""

    dataset: Any
    """The data set for TRL, with a text column ``sample_id``; or what TRL refuses, as it was given."""
    by_id: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Sample]
    ids_are_ours: bool
    """The user's data has no column ``sample_id``, so reward functions and environments must not get it."""

    def given(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns of a row that the user's data has."""
        return {name: value for name, value in row.items() if name != "sample_id"} if self.ids_are_ours else row


def refuse_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises ConfigError for an argument of GRPOTrainer that P2OTrainer does not take."""
    for name, why in REFUSED_ARGUMENTS.items():
        if arguments.get(name) is not None:
            raise ConfigError(f"P2OTrainer takes no {name}: {why}; use trl.GRPOTrainer for it")


def training_rows(dataset: Any, environment: Any = None, args: Any = None) -> TrainingRows:
    """Gives every row an id: the column ``sample_id`` as text, else a hash. Repeated rows get ``id#2``, ``id#3``.

    Args:
        environment: of the rollouts, if there is one; its rows may have no prompt. One environment alone may do without
            a data set, for ``max_steps`` (TRL's rule).
        args: the trainer's settings.

    Raises:
        ConfigError: a data set of unknown length, one with images, or one without prompts.
    """
    if dataset is None and callable(environment) and args.max_steps > 0:
        dataset = _without_data(args.generation_batch_size // args.num_generations)
    if not isinstance(dataset, Dataset | IterableDataset):
        return TrainingRows(dataset, {}, {}, ids_are_ours=True)  # TRL's constructor says what is wrong
    if isinstance(dataset, IterableDataset):
        raise ConfigError(
            "P2OTrainer takes no iterable train_dataset: it must know every sample by its id; load it into a "
            "datasets.Dataset"
        )
    refuse_images(dataset, "train_dataset")
    if "prompt" not in dataset.column_names and not environment:
        raise ConfigError("train_dataset has no column 'prompt'; add one, with chat messages or text")
    ours = "sample_id" not in dataset.column_names
    dataset, by_id = with_sample_ids(dataset)
    return TrainingRows(dataset, by_id, {i: sample_of(row) for i, row in by_id.items()}, ours)


def _without_data(count: int) -> Any:
    """The rows that TRL trains on where an environment owns the data: one batch of empty prompts. To the ledger each of
    them is a sample, whatever task the environment makes of it."""
    return Dataset.from_dict({"prompt": [[dict(message) for message in NO_PROMPT]] * count})


def check_eval_rows(dataset: Any, name: str) -> None:
    """Checks that evaluation rows are text; of a stream, which can be read only once, the columns alone.

    Raises:
        ConfigError, DataError: there are images.
    """
    refuse_images(dataset, name)
    if isinstance(dataset, Dataset):
        check_prompts(map(sample_of, dataset), templated=False)


def refuse_images(dataset: Any, name: str) -> None:
    """Raises ConfigError for a data set with images."""
    for column in {"image", "images"} & set(dataset.column_names or ()):
        raise ConfigError(
            f"P2OTrainer takes no images, and {name} has a column {column!r}; remove it, or use trl.GRPOTrainer"
        )
