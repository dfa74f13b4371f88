"""The same small run twice: with P2OTrainer, and with TRL's GRPOTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from helpers import ALL_FOUR, hard_rows, last_number, letters, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.evolve import Reply
from p2o.generation.models import resolve_model

ARGUMENTS = ("eval_dataset", "tools", "environment_factory", "rollout_func")


def ours(out: Path, *, reflector: Any = None, **options: Any) -> Any:
    """A P2OTrainer on the built-in policy. ``reward`` None scores the last number, else the share of even digits."""
    return _trainer(P2OTrainer, P2OConfig, out, {"reflector": reflector or (lambda jobs: [])}, **options)


def theirs(out: Path, **options: Any) -> Any:
    """TRL's trainer with the same options."""
    return _trainer(GRPOTrainer, GRPOConfig, out, {}, **options)


def _trainer(
    trainer: Any,
    config: Any,
    out: Path,
    more: dict[str, Any],
    *,
    reward: Any = letters,
    rows: int = 4,
    dataset: Any = None,
    tokenizer: Any = None,
    **changes: Any,
) -> Any:
    arguments = {name: changes.pop(name) for name in ARGUMENTS if name in changes}
    return trainer(
        model=resolve_model("builtin:sandbox"),
        reward_funcs=reward or last_number,
        args=config(**settings(out, **changes)),
        train_dataset=hard_rows(rows) if dataset is None else dataset,
        processing_class=tokenizer,
        **arguments,
        **more,
    )


def train_rows(trainer: Any) -> list[dict[str, Any]]:
    """The rows of the log that tell of training steps."""
    return [row for row in trainer.state.log_history if "loss" in row]


def plain_rows(count: int) -> Any:
    """The hard sums as plain text, for a model without a chat."""
    return Dataset.from_list([{**row, "prompt": row["prompt"][0]["content"]} for row in hard_rows(count)])


def one_template(jobs: list[Any]) -> list[Reply]:
    """A reflector that always writes the template which makes the built-in policy solve hard sums."""
    return [Reply(f"```\n{ALL_FOUR}\n```") for _ in jobs]
