"""From a recipe to objects: samples, rewards, reflector, trainer."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base.terminal import console
from ..base.text import counted, one_line
from ..core.samples import Sample
from ..data import DataColumns, content_id, load_samples, to_dataset
from ..errors import ConfigError, DataError
from ..generation.models import resolve_model
from ..generation.tools import environment_classes, load_environments, load_tools
from ..reflectors.building import build_reflector
from ..rewards import RewardSet, resolve_reward
from ..rewards.environment import EnvironmentReward
from .checks import check_adapter
from .machine import check_machine
from .recipe import Recipe
from .second_process import SecondProcess

if TYPE_CHECKING:
    from trl import ModelConfig

    from ..trl.trainer import P2OTrainer


def samples_of(recipe: Recipe, part: str, train: Sequence[Sample] | None = None) -> list[Sample]:
    """The samples of one part ("train", "eval" or "test") of a recipe.

    Args:
        train: the training samples, which are left out of the other parts; they are read if they are not given.

    Raises:
        ConfigError: the recipe names no data for it.
    """
    task = recipe.task
    source = getattr(task, part)
    if not source:
        raise ConfigError(f"the recipe {recipe.name} names no {part} data; set '{part}' to a data source")
    of_training = (task.max_train_samples, task.solution_column) if part == "train" else ()
    samples = load_samples(source, split=getattr(task, f"{part}_split"), columns=_columns(recipe, *of_training))
    if source == task.train:  # the training data itself, on purpose
        return samples
    return held_out(samples, training_samples(recipe) if train is None else train, source)


def ood_samples(recipe: Recipe, train: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The recipe's samples out of the training distribution, by name, without the training samples."""
    return {
        name: held_out(load_samples(source, columns=_columns(recipe)), train, source)
        for name, source in recipe.task.ood.items()
    }


def training_samples(recipe: Recipe) -> list[Sample]:
    """The training samples; none on a machine without the training data."""
    try:
        return samples_of(recipe, "train")
    except DataError:
        return []


def _columns(recipe: Recipe, limit: int | None = None, solution_column: str | None = None) -> DataColumns:
    task = recipe.task
    return DataColumns(
        prompt_column=task.prompt_column,
        answer_column=task.answer_column,
        solution_column=solution_column,
        id_column=task.id_column,
        system_prompt=task.system_prompt,
        prompt_prefix=task.prompt_prefix,
        prompt_suffix=task.prompt_suffix,
        limit=limit,
        seed=recipe.training.seed,
        require_answer=task.require_answer,
    )


def held_out(samples: list[Sample], train: Sequence[Sample], source: str) -> list[Sample]:
    """The samples that are not in the training data.

    Raises:
        DataError: none is left.
    """
    known = {content_id(s) for s in train}  # not their ids: two files may both count from 0
    kept = [s for s in samples if content_id(s) not in known]
    if len(kept) < len(samples):
        console.print(f"{source}: left out {counted(len(samples) - len(kept), 'sample')} of the training data")
    if not kept:
        raise DataError(f"all samples of {source} are in the training data too; name other data")
    return kept


def rewards_of(recipe: Recipe) -> RewardSet:
    """The recipe's rewards with their weights, and the one that says what *solved* means. An environment that has
    ``get_reward`` is one more reward, of weight 1 (TRL's rule)."""
    training = recipe.training
    named = [resolve_reward(spec, timeout=training.reward_timeout) for spec in recipe.task.rewards]
    classes = environment_classes(recipe.task.environment).values()
    own = [EnvironmentReward(name) for name in {c.__name__: c for c in classes if hasattr(c, "get_reward")}]
    return RewardSet(
        [*named, *own],
        weights=None if training.reward_weights is None else [*training.reward_weights, *(1.0 for _ in own)],
        success_reward_name=training.success_reward,
        success_threshold=training.success_threshold,
    )


def agent_arguments(recipe: Recipe) -> dict[str, Any]:
    """The recipe's ``tools`` and ``environment_factory`` as TRL takes them; empty without tools."""
    environments = load_environments(recipe.task.environment, recipe.training.tool_timeout)
    arguments = {"tools": load_tools(recipe.task.tools) or None, "environment_factory": environments}
    return {name: value for name, value in arguments.items() if value is not None}


def model_options(recipe: Recipe) -> dict[str, Any]:
    """What `from_pretrained` takes for the recipe's model, beside its name."""
    model, training = recipe.model, recipe.training
    options = {
        "revision": model.model_revision,
        "dtype": model.dtype,
        "attn_implementation": model.attn_implementation,
        "trust_remote_code": training.trust_remote_code,
        "quantization_config": quantization_of(model),
    }
    return {k: v for k, v in options.items() if v is not None} | dict(training.model_init_kwargs or {})


def quantization_of(model: ModelConfig) -> Any:
    """transformers' configuration of a base model of 4 or 8 bits; None for a whole one."""
    from trl import get_quantization_config

    return get_quantization_config(model)


def trainer_of(recipe: Recipe) -> P2OTrainer:
    """The trainer of a recipe, with its data, rewards, reflector and model.

    Raises:
        ConfigError: it cannot be made on this machine, or its settings do not fit together.
        DataError, RewardError, ReflectorError: its data, rewards or reflector cannot be used.
    """
    from trl import get_peft_config

    from ..trl.trainer import P2OTrainer

    name = recipe.model.model_name_or_path
    if not name:
        raise ConfigError(f"the recipe {recipe.name} names no model; set 'model_name_or_path'")
    check_adapter(recipe.model)
    check_machine(recipe)
    train = samples_of(recipe, "train")
    evaluation = samples_of(recipe, "eval", train) if recipe.task.eval else None
    rewards = rewards_of(recipe)
    rewards.check_gold([*train, *(evaluation or [])])
    training = copy.copy(recipe.training)
    training.model_init_kwargs = model_options(recipe)
    if training.hub_token:  # transformers would write it into every checkpoint, in training_args.bin
        os.environ["HF_TOKEN"], training.hub_token = training.hub_token, None
    reflector = build_reflector(recipe.task)
    try:
        return P2OTrainer(
            model=resolve_model(name),
            reward_funcs=rewards.trl_functions(),
            args=training,
            train_dataset=to_dataset(train),
            eval_dataset=to_dataset(evaluation) if evaluation else None,
            peft_config=get_peft_config(recipe.model),
            reflector=reflector,
            beside=SecondProcess(recipe) if training.evolve_beside else None,
            **agent_arguments(recipe),
        )
    except (ValueError, TypeError, ImportError) as error:  # TRL and transformers: settings do not fit together
        raise ConfigError(f"the recipe {recipe.name} cannot be run: {one_line(str(error), 400)}") from error
    except OSError as error:
        raise ConfigError(
            f"cannot load the model {name!r}: give a folder with a checkpoint, or a hub name that this machine can "
            f"reach ({one_line(str(error))})"
        ) from error
