"""The directory that a run writes to: a new one, or the one of the run that it continues."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..trl.checkpoint import latest_checkpoint
from .recipe import Recipe, changed_keys

MAY_CHANGE = re.compile(
    "output_dir|if_exists|num_train_epochs|max_steps|max_cost|max_rollouts|arms|ood|disable_tqdm|use_cpu"
    "|dataloader_.*|log.*|save_.*|eval_.*|test.*|report_to|run_name"
    "|reflector_(base_url|api_key_env|concurrency|timeout|retries)"
)
"""Keys of a recipe that may have another value when a run is resumed: they do not change how it trains."""


def claim_run_dir(recipe: Recipe, resume: bool) -> tuple[Path, str | None]:
    """Finds or makes the directory of a run, and sets the recipe's ``output_dir`` to it. Collective: the main process
    decides, since the others could find its new folder.

    Args:
        resume: whether the user asked to continue a run.

    Returns:
        The directory, and the checkpoint from which to continue.

    Raises:
        ConfigError: the directory holds a run that this one would destroy, or cannot continue.
    """
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    decided: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            decided = [_decide(recipe, resume)]
        except ConfigError as error:
            decided = [error]
    broadcast_object_list(decided)
    if isinstance(decided[0], ConfigError):
        raise decided[0]
    run_dir, checkpoint = decided[0]
    recipe.training.output_dir = str(run_dir)
    return run_dir, checkpoint


def _decide(recipe: Recipe, resume: bool) -> tuple[Path, str | None]:
    """(run directory, checkpoint from which to continue), by the policy for a directory that exists."""
    run_dir = Path(recipe.training.output_dir)
    checkpoint = latest_checkpoint(run_dir)
    complete = (run_dir / "p2o" / "result.json").exists()
    policy = "resume" if resume else recipe.task.if_exists
    if checkpoint is None and resume:
        raise ConfigError(f"there is nothing to resume in {run_dir}: it holds no whole checkpoint")
    if checkpoint is None and not complete:
        make_run_dir(run_dir)
        return run_dir, None
    if policy == "fail":
        raise ConfigError(f"{run_dir} holds a run already; set output_dir, or if_exists to resume or new")
    if policy == "new":
        number = 2
        while Path(f"{run_dir}-{number}").exists():
            number += 1
        run_dir = Path(f"{run_dir}-{number}")
        make_run_dir(run_dir)
        return run_dir, None
    if complete and not resume:
        raise ConfigError(
            f"the run in {run_dir} is complete; add --if_exists new for another one, or --resume to train it further"
        )
    _check_same_recipe(recipe, run_dir)
    return run_dir, checkpoint


def _check_same_recipe(recipe: Recipe, run_dir: Path) -> None:
    """Raises ConfigError if the run in the directory was made by a recipe that trains another way."""
    written = run_dir / "config.yaml"
    if not written.exists():
        return
    before, now = yaml.safe_load(written.read_text(encoding="utf-8")), yaml.safe_load(recipe.to_yaml(run_dir))
    changed = [k for k in changed_keys(before, now, run_dir) if not MAY_CHANGE.fullmatch(k)]
    if changed:
        raise ConfigError(
            f"{run_dir} holds a run of another recipe ({', '.join(changed)} differ), so it cannot be resumed; "
            "add --if_exists new, or set output_dir to another folder"
        )


def make_run_dir(run_dir: Path) -> None:
    """Makes the directory.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {run_dir}: {error.strerror}; set output_dir to another folder") from error
