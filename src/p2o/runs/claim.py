"""The directory that a run writes to: a new one, or the one of the run that it continues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from ..base.lock import locked
from ..base.terminal import console
from ..errors import ConfigError, P2OError
from ..trl.checkpoint import check_checkpoint, checkpoints, choose_checkpoint
from .recipe import Recipe, changed_keys
from .run_directory import Run

MAY_CHANGE = re.compile(
    "output_dir|if_exists|resume_from_checkpoint|num_train_epochs|max_steps|max_cost|max_rollouts|arms|ood"
    "|disable_tqdm|verbose|use_cpu|dataloader_.*|log.*|save_.*|eval(_.*)?|test.*|report_to|run_name"
    "|reflector_(base_url|api_key_env|concurrency|timeout|retries)"
)
"""Keys of a recipe that may have another value when a run is resumed: they do not change how it trains."""

LOCK = ".lock"


@contextmanager
def claimed_run_dir(recipe: Recipe, resume: bool) -> Iterator[tuple[Path, str | None]]:
    """Finds or makes the directory of a run, sets the recipe's ``output_dir`` to it, and keeps other processes out of
    it inside. Collective: the main process decides, since the others could find its new folder.

    Args:
        resume: whether the user asked to continue a run.

    Yields:
        The directory, and the checkpoint from which to continue.

    Raises:
        ConfigError: the directory holds a run that this one would destroy, or cannot continue.
        StateError: the checkpoint that was chosen cannot be continued from.
    """
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    with ExitStack() as held:
        decided: list[Any] = [None]
        if PartialState().is_main_process:
            try:
                decided = [_decide(recipe, resume, held)]
            except P2OError as error:
                decided = [error]
        broadcast_object_list(decided)
        if isinstance(decided[0], P2OError):
            raise decided[0]
        run_dir, checkpoint = decided[0]
        recipe.training.output_dir = str(run_dir)
        yield run_dir, checkpoint


def _decide(recipe: Recipe, resume: bool, held: ExitStack) -> tuple[Path, str | None]:
    """(run directory, checkpoint from which to continue), by the policy for a directory that exists."""
    run_dir = Path(recipe.training.output_dir)
    _make(run_dir)
    policy = "resume" if resume or recipe.training.resume_from_checkpoint else recipe.task.if_exists
    holds_run = Run(run_dir).complete or bool(checkpoints(run_dir))
    if holds_run and policy == "fail":
        raise ConfigError(f"{run_dir} holds a run already; set output_dir, or if_exists to resume or new")
    if holds_run and policy == "new":
        run_dir = next(path for n in count(2) if not (path := Path(f"{run_dir}-{n}")).exists())
    held.enter_context(run_dir_alone(run_dir))
    run = Run(run_dir)
    if run.holds_evolution:
        raise ConfigError(f"{run_dir} holds the templates of p2o evolve; set output_dir to another folder")
    checkpoint = _chosen_checkpoint(recipe, run_dir)
    if checkpoint is None and resume:
        raise ConfigError(f"there is nothing to resume in {run_dir}: it holds no whole checkpoint")
    if run.complete and policy == "resume" and not resume:
        raise ConfigError(
            f"the run in {run_dir} is complete; add --if_exists new for another one, or --resume to train it further"
        )
    if checkpoint is not None:
        _check_same_recipe(recipe, run)
    return run_dir, checkpoint


def _chosen_checkpoint(recipe: Recipe, run_dir: Path) -> str | None:
    """The checkpoint that the recipe names, else the newest whole one; of the others is said why they were left."""
    if recipe.training.resume_from_checkpoint is None:
        newest, left = choose_checkpoint(run_dir)
        for sentence in left:
            console.print(f"! {sentence}")
        return newest
    named = Path(recipe.training.resume_from_checkpoint)
    if named.resolve().parent != run_dir.resolve():
        raise ConfigError(f"resume_from_checkpoint is {named}, which is not in {run_dir}; set output_dir to its folder")
    check_checkpoint(named)
    return str(named)


def _check_same_recipe(recipe: Recipe, run: Run) -> None:
    """Raises ConfigError if the run in the directory was made by a recipe that trains another way."""
    before, now = yaml.safe_load(run.config) or {}, yaml.safe_load(recipe.to_yaml(run.path))
    changed = [k for k in changed_keys(before, now, run.path) if not MAY_CHANGE.fullmatch(k)]
    if run.config and changed:
        raise ConfigError(
            f"{run.path} holds a run of another recipe ({', '.join(changed)} differ), so it cannot be resumed; "
            "add --if_exists new, or set output_dir to another folder"
        )


@contextmanager
def claimed_for_evolution(run_dir: Path) -> Iterator[None]:
    """The same for ``p2o evolve``.

    Raises:
        ConfigError: the directory holds a training run, or another process writes to it.
    """
    with run_dir_alone(run_dir):
        if Run(run_dir).config:
            raise ConfigError(f"{run_dir} holds a training run; set output_dir to another folder")
        yield


@contextmanager
def run_dir_alone(run_dir: Path) -> Iterator[None]:
    """Makes a directory, and keeps other processes of p2o out of it inside.

    Raises:
        ConfigError: it cannot be made, or another process writes to it.
    """
    _make(run_dir)
    taken = f"another process writes to {run_dir}; wait for it or stop it, or set output_dir to another folder"
    with locked(run_dir / LOCK, taken):
        yield


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / LOCK).touch()
    except OSError as error:
        raise ConfigError(f"cannot write to {run_dir}: {error.strerror}; set output_dir to another folder") from error
