"""From a recipe to objects: samples, rewards, reflector, trainer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..base.terminal import console
from ..core.samples import Sample
from ..data import DataColumns, content_id, load_samples, to_dataset
from ..errors import ConfigError, DataError
from ..generation.models import resolve_model
from ..reflectors.building import build_reflector
from ..rewards import RewardSet, resolve_reward
from .recipe import Recipe

if TYPE_CHECKING:
    from ..trl.trainer import P2OTrainer


def samples_of(recipe: Recipe, part: str) -> list[Sample]:
    """The samples of one part ("train", "eval" or "test") of a recipe.

    Raises:
        ConfigError: the recipe names no data for it.
    """
    task = recipe.task
    source = getattr(task, part)
    if not source:
        raise ConfigError(f"the recipe {recipe.name} names no {part} data; set '{part}' to a data source")
    limit = task.max_train_samples if part == "train" else None
    samples = load_samples(source, split=getattr(task, f"{part}_split"), columns=_columns(recipe, limit))
    if source == task.train:  # the training data itself, on purpose
        return samples
    return _without_training_data(recipe, samples, source)


def ood_samples(recipe: Recipe) -> dict[str, list[Sample]]:
    """The recipe's samples out of the training distribution, by name."""
    return {
        name: _without_training_data(recipe, load_samples(source, columns=_columns(recipe)), source)
        for name, source in recipe.task.ood.items()
    }


def _columns(recipe: Recipe, limit: int | None = None) -> DataColumns:
    task = recipe.task
    return DataColumns(
        prompt_column=task.prompt_column,
        answer_column=task.answer_column,
        id_column=task.id_column,
        system_prompt=task.system_prompt,
        prompt_prefix=task.prompt_prefix,
        prompt_suffix=task.prompt_suffix,
        limit=limit,
        seed=recipe.training.seed,
        require_answer=task.require_answer,
    )


def _without_training_data(recipe: Recipe, samples: list[Sample], source: str) -> list[Sample]:
    try:
        train = samples_of(recipe, "train")
    except DataError:  # an evaluation on a machine without the training data
        return samples
    return held_out(samples, train, source)


def held_out(samples: list[Sample], train: list[Sample], source: str) -> list[Sample]:
    """The samples that are not in the training data.

    Raises:
        DataError: none is left.
    """
    known = {content_id(s) for s in train}  # not their ids: two files may both count from 0
    kept = [s for s in samples if content_id(s) not in known]
    if len(kept) < len(samples):
        console.print(f"{source}: {len(samples) - len(kept)} samples are in the training data too; left out")
    if not kept:
        raise DataError(f"all samples of {source} are in the training data too; name other data")
    return kept


def rewards_of(recipe: Recipe) -> RewardSet:
    """The recipe's rewards with their weights, and the one that says what *solved* means."""
    training = recipe.training
    return RewardSet(
        [resolve_reward(spec, timeout=training.reward_timeout) for spec in recipe.task.rewards],
        weights=training.reward_weights,
        success_reward_name=training.success_reward,
        success_threshold=training.success_threshold,
    )


def trainer_of(recipe: Recipe) -> P2OTrainer:
    """The trainer of a recipe, with its data, rewards, reflector and model."""
    from trl import get_peft_config

    from ..trl.trainer import P2OTrainer

    recipe.check_machine()
    model, training = recipe.model, recipe.training
    if not model.model_name_or_path:
        raise ConfigError(f"the recipe {recipe.name} names no model; set 'model_name_or_path'")
    train = samples_of(recipe, "train")
    rewards = rewards_of(recipe)
    rewards.check_gold(train)
    init: dict[str, Any] = dict(training.model_init_kwargs or {})
    init.setdefault("revision", model.model_revision)
    init.setdefault("dtype", model.dtype)
    if model.attn_implementation:
        init.setdefault("attn_implementation", model.attn_implementation)
    training = copy.copy(training)
    training.model_init_kwargs = init
    source = resolve_model(model.model_name_or_path)
    try:
        return P2OTrainer(
            model=source,
            reward_funcs=rewards.trl_functions(),
            args=training,
            train_dataset=to_dataset(train),
            eval_dataset=to_dataset(samples_of(recipe, "eval")) if recipe.task.eval else None,
            peft_config=get_peft_config(model),
            reflector=build_reflector(recipe.task),
        )
    except (ValueError, ImportError) as error:  # TRL and transformers say so when settings do not fit together
        raise ConfigError(f"the recipe {recipe.name} cannot be run: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigError(
            f"cannot load the model {model.model_name_or_path!r}: give a folder with a checkpoint, or a hub name that "
            f"this machine can reach ({str(error).splitlines()[0]})"
        ) from error
