"""Recipes: a YAML file and command-line overrides become three configurations.

Keys are the fields of `RecipeConfig`, of `P2OConfig` (with all of TRL's GRPOConfig) and of TRL's `ModelConfig`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_origin, get_type_hints

import yaml

from ..base.coerce import coerce, union_options
from ..base.secrets import HIDDEN, is_secret, without_secrets
from ..base.spelling import nearest
from ..base.text import one_line
from ..errors import ConfigError, P2OError
from ..reflectors.settings import ReflectorSettings
from .checks import check_choices, check_effects, check_ranges
from .gpu import gpu_is_here
from .paths import JSON_FILES, as_seen_from, from_folder, with_absolute_paths
from .reading import ON_COMMAND_LINE, Given, parse_words, read_recipe

if TYPE_CHECKING:
    from trl import ModelConfig

    from ..trl.config import P2OConfig


OUTPUT_DIR = "runs/{name}"
"""The default of ``output_dir``; ``name`` is the recipe's."""


@dataclass
class RecipeConfig(ReflectorSettings):
    """The task of a run: data, rewards, reflector."""

    train: str = ""
    """Data source of the training samples: a .jsonl, .json, .csv or .parquet file, a folder, a name of the hub,
    ``reasoning_gym:NAME?size=500``, or ``builtin:sandbox/train``."""

    eval: str | None = None
    """Data source of the evaluations during training (see ``eval_strategy``)."""

    test: str | None = None
    """Data source of the evaluation before and after training, and of ``p2o eval``."""

    test_draws: int = 0
    """Also draw this many completions of each test sample at the training temperature, before and after training, for
    mean@k and pass@k (0: none)."""

    ood: dict[str, str] = field(default_factory=dict)
    """Further evaluations before and after training, on other data than the training's: name → data source."""

    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Your own arms for ``p2o compare``: name → the keys of the recipe that differ."""

    train_split: str | None = None
    """Split of the training source, where it has several."""

    eval_split: str | None = None
    """Split of the evaluation source."""

    test_split: str | None = None
    """Split of the test source."""

    prompt_column: str = "prompt"
    """Column with the prompt, text or chat messages; without a column ``prompt``, ``question`` or ``problem`` is
    taken."""

    answer_column: str = "answer"
    """Column with the right answer."""

    solution_column: str | None = None
    """Column of the training data with a right solution as text, for methods that need one and for ``template_worth:
    solution``; else ``solution``."""

    id_column: str | None = None
    """Column with a stable id; else ``id`` if there is one, else a hash of messages and answer."""

    system_prompt: str | None = None
    """System message in front of every prompt that has none."""

    prompt_prefix: str = ""
    """Text put in front of every question (part of the bare prompt)."""

    prompt_suffix: str = ""
    """Text put behind every question (part of the bare prompt)."""

    require_answer: bool = True
    """Whether a row without a right answer is an error."""

    max_train_samples: int | None = None
    """Train on a random subset of this size."""

    rewards: list[Any] = field(default_factory=lambda: ["math"])
    """Reward functions: ``boxed``, ``last_number``, ``exact``, ``math``, a mapping with a ``pattern``, ``trl:NAME``,
    ``module:function`` or ``file.py:function`` (one of verl's: ``{name: file.py:function, signature: verl}``). The
    first says what *solved* means."""

    tools: list[str] = field(default_factory=list)
    """Functions that the policy may call while it answers: ``file.py:function``, ``module:function`` or
    ``builtin:calculator``. See docs/agents.md."""

    environment: str | dict[str, str] | None = None
    """A class whose instances play the task with the policy (TRL's ``environment_factory``): ``file.py:Class`` or
    ``module:Class``; or several of them, name → class, where the data's column ``environment`` holds the name."""

    policy_base_url: str | None = None
    """``p2o evolve``: a served policy instead of a local one."""

    policy_timeout: float = 600.0
    """Seconds for one completion of the served policy, from the connection to the last byte."""

    processes: int | None = None
    """Processes (GPUs) that the batch sizes are made for; training with another number of them is refused."""

    if_exists: Literal["resume", "new", "fail"] = "resume"
    """What to do when the run directory holds a checkpoint: ``resume`` continues from it, as ``p2o train --resume``
    does; ``new`` takes a new directory; ``fail`` refuses."""


@dataclass
class Recipe:
    """A resolved recipe."""

    name: str
    task: RecipeConfig
    training: P2OConfig
    model: ModelConfig

    def to_yaml(self, folder: Path = Path(), unicode: bool = True) -> str:
        """The resolved recipe: all settings of the task and of P²O, and what differs from TRL's defaults. Without
        secrets.

        Args:
            folder: where the text will stand, and its relative paths begin.
            unicode: False writes characters beyond ASCII as YAML's escapes.
        """
        own_keys = keys_of_p2o()
        content: dict[str, Any] = {}
        for part in (self.task, self.training, self.model):
            for f in fields(part):
                value = getattr(part, f.name, None)
                if f.init and (f.name in own_keys or value != default_of(f)) and not is_secret(f.name):
                    hidden = without_secrets(value) if f.name.endswith("_url") and value else value
                    content[f.name] = plain(as_seen_from(folder, f.name, hidden))
        # TRL sets it from steps_per_generation, and refuses both.
        content.pop("generation_batch_size", None)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=unicode)


def keys_of_p2o() -> set[str]:
    """The keys that are neither TRL's nor transformers'; they stand in every resolved recipe."""
    from trl import GRPOConfig

    from ..trl.config import P2OConfig

    return {f.name for part in (RecipeConfig, P2OConfig) for f in fields(part)} - {f.name for f in fields(GRPOConfig)}


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> list[str]:
    """The keys in which two resolved recipes differ. A key of p2o that the older one lacks is newer than it is.

    Args:
        folder: where both stand, and their relative paths begin.
    """
    before, now = with_absolute_paths(before, folder), with_absolute_paths(now, folder)
    newer = keys_of_p2o() - before.keys()
    return sorted(k for k in (before.keys() | now.keys()) - newer if before.get(k) != now.get(k))


def default_of(f: Field[Any]) -> Any:
    """The default of a dataclass's field; None if it has none."""
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else None


def plain(value: Any) -> Any:
    """A setting's value as YAML and JSON can write it, without secrets."""
    if hasattr(value, "to_dict"):  # transformers' own small configurations
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if not is_secret(str(k))}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    value = getattr(value, "value", value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def load_recipe(name: str, words: Sequence[str] = (), options: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, and the settings of a command line, which come before it.

    Args:
        name: a YAML file, or the name of a recipe that ships with the package ("quickstart"). Its key ``base`` may
            name another recipe, whose keys hold where it has none of its own. Relative paths in a file begin in the
            folder of that file, those of a shipped recipe and of the command line in the working directory.
        words: ``--key value`` or ``--key=value`` for each setting.
        options: the command's other options ("--resume"), which a misspelt setting may have meant.

    Raises:
        ConfigError: not found, not YAML, an unknown key (the nearest valid one is named) or a wrong type.
    """
    stem, given = read_recipe(name)
    given |= parse_words(words)
    from trl import ModelConfig

    from ..trl.config import P2OConfig

    # A key that two of them share goes to both.
    parts: list[Any] = [RecipeConfig, P2OConfig, ModelConfig]
    hints = [hints_of(part) for part in parts]
    known = sorted(set().union(*hints))
    values: list[dict[str, Any]] = [{}, {}, {}]
    for key, one in given.items():
        if not any(key in own for own in hints):
            raise _unknown_key(key, one, known, options)
        for own, into in zip(hints, values, strict=True):
            if key in own:
                into[key] = from_folder(key, _coerced(key, one, own[key]), one.folder)
    task = RecipeConfig(**values[0])
    _check_task(task, known, name)
    check_ranges([values[1], values[2], vars(task)])
    values[1].setdefault("output_dir", OUTPUT_DIR.format(name=stem))
    try:
        recipe = Recipe(stem, task, _training(P2OConfig, values[1]), ModelConfig(**values[2]))
    except P2OError:
        raise
    except Exception as error:  # whatever TRL, transformers and accelerate make of a value
        raise ConfigError(f"{name}: {one_line(f'{type(error).__name__}: {error}', 400)}") from error
    check_choices(recipe.training)
    check_effects(recipe.training, given, has_tools=bool(task.tools or task.environment))
    return recipe


def hints_of(part: Any) -> dict[str, Any]:
    """The keys of a dataclass that can be set, with their types."""
    hints = get_type_hints(part)
    return {f.name: _narrowed(f.name, hints[f.name], f.metadata.get("choices")) for f in fields(part) if f.init}


def _narrowed(key: str, hint: Any, choices: Iterable[str] | None) -> Any:
    """A type as TRL and HF mean it: one of the choices, where they name some; no mapping as JSON text (of a recipe only
    the name of a file or of a class is one)."""
    options = union_options(hint)
    if choices is not None and str in options:
        return Union[tuple(Literal[tuple(choices)] if o is str else o for o in options)]  # noqa: UP007
    named = key in (*JSON_FILES, "environment")
    if named or str not in options or not any((get_origin(o) or o) is dict for o in options):
        return hint
    return Union[tuple(o for o in options if o is not str)]  # noqa: UP007 (its parts are not known here)


def _coerced(key: str, given: Given, hint: Any) -> Any:
    shown = f"--{key}" if given.place == ON_COMMAND_LINE else key
    if given.text is None and given.place == ON_COMMAND_LINE and bool not in union_options(hint):
        raise ConfigError(f"{shown} needs a value; one that begins with -- is written {shown}=VALUE")
    return coerce(shown, given.value, hint, given.text, given.place)


def _unknown_key(key: str, given: Given, known: Sequence[str], options: Sequence[str]) -> ConfigError:
    if given.place != ON_COMMAND_LINE:
        return ConfigError(f"unknown key {key!r} {given.place}{nearest(key, known)}")
    near = nearest(f"--{key}", [*options, *(f"--{name}" for name in known)])
    return ConfigError(f"unknown setting --{key} {given.place}{near}")


def _check_task(task: RecipeConfig, known: Sequence[str], where: str) -> None:
    if not task.train:
        raise ConfigError(f"{where} names no training data; set 'train' to a data source")
    for arm, settings in task.arms.items():
        for key in settings:
            if key not in known:
                raise ConfigError(f"unknown key {key!r} in the arm {arm!r} of {where}{nearest(key, known)}")
    if HIDDEN in (task.reflector_base_url or ""):
        raise ConfigError(
            f"reflector_base_url of {where} holds {HIDDEN} in place of a secret, which is never written down; give it "
            "with --reflector_base_url"
        )


def _training(config: type[P2OConfig], values: dict[str, Any]) -> P2OConfig:
    """TRL refuses to construct the settings of a GPU run without a GPU. A recipe can be read, checked and planned
    anywhere, so that refusal waits for `p2o.runs.machine.check_machine`, when a trainer is made."""
    if values.get("use_cpu") or gpu_is_here():
        return config(**values)
    training = config(**{**values, "use_cpu": True})
    training.use_cpu = False
    return training
