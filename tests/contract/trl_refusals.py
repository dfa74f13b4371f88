"""Which of TRL's own GRPO tests do not pass with P2OTrainer, and why (docs/trl_compat.md)."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """Tests that end in the same way for the same reason."""

    reason: str
    sentence: str
    """Part of the error's text."""
    tests: frozenset[str]
    """Names of test functions in TRL's file."""


REFUSED = [
    Known(
        "an iterable train_dataset: samples must be known by their ids",
        "P2OTrainer takes no iterable train_dataset",
        frozenset(
            {
                "test_train_with_iterable_dataset",
                "test_iterable_dataset_requires_dispatch_batches_false",
                "test_iterable_dataset_forces_num_workers_zero",
            }
        ),
    ),
]
"""Refused by P2OTrainer, with this sentence."""

DIFFERENT = [
    Known(
        "rows have one more column, sample_id, by which the ledger knows them",
        "sample_id",
        frozenset({"test_prepare_input_called_with_correct_data"}),
    ),
]
"""Nothing is refused, but what the test looks at is otherwise, as documented."""
