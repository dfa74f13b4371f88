"""Which of TRL's own GRPO tests P2OTrainer refuses, and by what sentence (docs/trl_compat.md)."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """Tests that end with the same sentence for the same reason."""

    reason: str
    sentence: str
    """Part of the error's text."""
    tests: frozenset[str]
    """Names of test functions in TRL's file."""


REFUSED = [
    Refusal(
        "tools: several turns",
        "P2OTrainer takes no tools",
        frozenset({"test_train_with_tools", "test_train_with_malformed_tool_calls"}),
    ),
    Refusal(
        "environments: several turns",
        "P2OTrainer takes no environment_factory",
        frozenset(
            {
                "test_train_with_multiple_environments",
                "test_train_with_unknown_environment_raises",
                "test_train_with_environment_factory",
                "test_train_with_environment_owned_reward",
                "test_environment_owned_reward_coexists_with_reward_funcs",
                "test_environment_owned_reward_mixed_environments",
                "test_environment_owned_data_requires_max_steps",
                "test_multiple_environments_without_dataset_raises",
                "test_train_with_environment_owned_data",
            }
        ),
    ),
    Refusal(
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
    Refusal(
        "images: templates and evaluations have none",
        "P2OTrainer takes no images",
        frozenset(
            {
                "test_train_vlm",
                "test_train_vlm_with_pad_to_multiple_of",
                "test_train_vlm_beta_non_zero",
                "test_train_vlm_peft",
                "test_train_vlm_and_importance_sampling",
                "test_train_vlm_multi_image",
                "test_train_vlm_log_multimodal_false",
            }
        ),
    ),
    Refusal(
        "no train_dataset: only an environment can do without",
        "P2OTrainer needs a train_dataset",
        frozenset({"test_dataset_required_without_environment"}),
    ),
    Refusal(
        "rows have one more column, sample_id, by which the ledger knows them",
        "sample_id",
        frozenset({"test_prepare_input_called_with_correct_data"}),
    ),
]
