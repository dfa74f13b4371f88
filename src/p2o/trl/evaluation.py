"""Evaluations of the bare prompt during training. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.samples import Rollout
from ..data import numbered, sample_of
from ..errors import ConfigError


def datasets_of(eval_dataset: Any) -> dict[str, Any]:
    """Name → data set, from a trainer's ``eval_dataset``: None, one data set, or a dict."""
    if eval_dataset is None:
        return {}
    if isinstance(eval_dataset, Mapping):
        return {f"eval_dataset {name!r}": part for name, part in eval_dataset.items()}
    return {"eval_dataset": eval_dataset}


def evaluation_groups(dataset: Any, column: str | None) -> tuple[list[str], list[str] | None]:
    """(ids of the rows, the group of each row if the data has the group column)."""
    ids = numbered(sample_of(row).id for row in dataset)
    known = column is not None and column in dataset.column_names
    return ids, [str(row[column]) for row in dataset] if known else None


def some_fit(rollouts: Sequence[Rollout], prefix: str, max_completion_length: int) -> Sequence[Rollout]:
    """The rollouts themselves.

    Raises:
        ConfigError: no prompt leaves room for a completion.
    """
    if rollouts and not any(rollout.fits for rollout in rollouts):
        raise ConfigError(
            f"no prompt of the {prefix} data leaves room for max_completion_length {max_completion_length} in the "
            "model's context; lower it, or shorten the prompts"
        )
    return rollouts


def evaluation_was_missed(args: Any, state: Any) -> bool:
    """Whether the run was killed after the checkpoint of an epoch's last step and before that epoch's evaluation."""
    epoch = state.epoch or 0.0
    done = any("eval_bare_success" in row and row["step"] == state.global_step for row in state.log_history)
    between = state.global_step > 0 and abs(epoch - round(epoch)) < 1e-6
    return bool(args.eval_strategy == "epoch" and args.eval_delay <= epoch and between and not done)
