"""Recipes: a YAML file and command-line overrides become three configurations.

Keys are the fields of `RecipeConfig`, of `P2OConfig` (with all of TRL's GRPOConfig) and of TRL's `ModelConfig`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import yaml

from ..base.coerce import coerce
from ..errors import ConfigError
from ..reflectors.settings import ReflectorSettings

if TYPE_CHECKING:
    from trl import ModelConfig

    from ..trl.config import P2OConfig


@dataclass
class RecipeConfig(ReflectorSettings):
    """The task of a run: data, rewards, reflector."""

    train: str = ""
    """Data source of the training samples (see `p2o.data`)."""

    eval: str | None = None
    """Data source for the evaluations during training."""

    test: str | None = None
    """Data source for the evaluation before and after training, and of ``p2o eval``."""

    ood: dict[str, str] = field(default_factory=dict)
    """Name → data source of further evaluations before and after training, out of the training distribution."""

    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arms of one's own for ``p2o compare``: name → the keys of the recipe that differ (``p2o_teacher``, …)."""

    train_split: str | None = None
    """Split of the training source, where it has several."""

    eval_split: str | None = None
    """Split of the evaluation source."""

    test_split: str | None = None
    """Split of the test source."""

    prompt_column: str = "prompt"
    """Column with the prompt: chat messages or text."""

    answer_column: str = "answer"
    """Column with the gold answer."""

    id_column: str | None = None
    """Column with a stable id; else ``id`` if there is one, else a hash of messages and answer."""

    system_prompt: str | None = None
    """System message in front of every prompt."""

    prompt_prefix: str = ""
    """Text put in front of every question (part of the bare prompt)."""

    prompt_suffix: str = ""
    """Text put behind every question (part of the bare prompt)."""

    require_answer: bool = True
    """Whether a row without a gold answer is an error."""

    max_train_samples: int | None = None
    """Train on a random subset of this size."""

    rewards: list[Any] = field(default_factory=lambda: ["math"])
    """Reward functions (see `p2o.rewards`): names, mappings with settings, or ``module:function``."""

    policy_base_url: str | None = None
    """``p2o evolve``: a served policy instead of a local one."""

    policy_timeout: float = 600.0
    """Seconds for one completion of the served policy, from the connection to the last byte."""

    processes: int | None = None
    """Processes (GPUs) that the batch sizes are made for; training with another number of them is refused."""

    if_exists: Literal["resume", "new", "fail"] = "resume"
    """What to do when the run directory holds a checkpoint."""


@dataclass
class Recipe:
    """A resolved recipe."""

    name: str
    task: RecipeConfig
    training: P2OConfig
    model: ModelConfig

    def check_machine(self) -> None:
        """Raises ConfigError if the recipe is for a GPU and there is none, or for another number of processes."""
        if not self.training.use_cpu and not gpu_is_here():
            raise ConfigError(
                f"the recipe {self.name} is for a GPU, and there is none on this machine; add --use_cpu true --bf16 "
                "false (and --use_vllm false) to train on the CPU, or --dry-run to see its plan"
            )

        wanted, running = self.task.processes, self.training.world_size
        if wanted is not None and wanted != running:
            raise ConfigError(
                f"the recipe {self.name} is made for {wanted} processes, and {running} "
                f"{'is' if running == 1 else 'are'} running; start as many, or set --processes {running} and "
                "steps_per_generation and gradient_accumulation_steps so that a batch stays what it was"
            )

    def to_yaml(self) -> str:
        """The resolved recipe: all settings of the task and of P²O, and what differs from TRL's defaults."""
        own_keys = keys_of_p2o()
        content: dict[str, Any] = {}
        for part in (self.task, self.training, self.model):
            for f in fields(part):
                value = getattr(part, f.name, None)
                if f.init and (f.name in own_keys or _differs(f, value)) and not f.name.endswith("_token"):
                    content[f.name] = _plain(value)
        # TRL sets it from steps_per_generation, and refuses both.
        content.pop("generation_batch_size", None)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def keys_of_p2o() -> set[str]:
    """The keys that are neither TRL's nor transformers'; they stand in every resolved recipe."""
    from trl import GRPOConfig

    from ..trl.config import P2OConfig

    return {f.name for part in (RecipeConfig, P2OConfig) for f in fields(part)} - {f.name for f in fields(GRPOConfig)}


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys in which two resolved recipes differ. A key of p2o that the older one lacks is newer than it is."""
    newer = keys_of_p2o() - before.keys()
    return sorted(k for k in (before.keys() | now.keys()) - newer if before.get(k) != now.get(k))


def _differs(f: Any, value: Any) -> bool:
    default = (
        f.default if f.default is not MISSING else f.default_factory() if f.default_factory is not MISSING else None
    )
    return bool(value != default)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):  # transformers' own small configurations
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    value = getattr(value, "value", value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe and applies ``--key value`` overrides.

    Args:
        name: a YAML file, or the name of a recipe that ships with the package ("quickstart"). Its key ``base`` may
            name another recipe, whose keys hold where it has none of its own.

    Raises:
        ConfigError: not found, not YAML, an unknown key (the nearest valid one is named) or a wrong type.
    """
    stem, content = _content(name)
    content |= parse_overrides(overrides)
    content.setdefault("output_dir", f"runs/{stem}")
    return build_recipe(stem, content, where=name)


def _content(name: str, seen: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """(stem, keys and values) of a recipe; the keys of its ``base``, another recipe, hold where it has none."""
    stem, text = _read(name)
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{name} must be a mapping of keys to values")
    base = content.pop("base", None)
    if base is None:
        return stem, content
    if base in seen:
        raise ConfigError(f"the recipe {name} is built on itself through its base {base!r}; take another base")
    return stem, _content(str(base), (*seen, base))[1] | content


def build_recipe(name: str, content: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from keys and values."""
    from trl import ModelConfig

    from ..trl.config import P2OConfig

    # A key that two of them share (trust_remote_code, ...) goes to the first and to every other one.
    parts: list[Any] = [RecipeConfig, P2OConfig, ModelConfig]
    hints = [get_type_hints(part) for part in parts]
    settable = [{f.name for f in fields(part) if f.init} for part in parts]
    known = sorted(set().union(*settable))
    values: list[dict[str, Any]] = [{}, {}, {}]
    for key, value in content.items():
        owners = [n for n in range(3) if key in settable[n]]
        if not owners:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown key {key!r} in {where}{hint}")
        for n in owners:
            values[n][key] = coerce(key, value, hints[n][key])
    task = RecipeConfig(**values[0])
    if not task.train:
        raise ConfigError(f"{where} names no training data; set 'train' to a data source")
    try:
        training = _training(P2OConfig, values[1])
        return Recipe(name, task, training, ModelConfig(**values[2]))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error


def _training(config: type[P2OConfig], values: dict[str, Any]) -> P2OConfig:
    """TRL refuses to construct the settings of a GPU run without a GPU. A recipe can be read, checked and planned
    anywhere, so that refusal waits for `Recipe.check_machine`, when a trainer is made."""
    if values.get("use_cpu") or gpu_is_here():
        return config(**values)
    training = config(**{**values, "use_cpu": True})
    training.use_cpu = False
    return training


def gpu_is_here() -> bool:
    """Whether torch finds an accelerator."""
    import torch

    return torch.accelerator.is_available()


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """``["--tau", "1", "--use_peft"]`` → ``{"tau": 1, "use_peft": True}``; ``--key=value`` works too."""
    overrides: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"unexpected argument {word!r}; overrides are written --key value")
        key, equals, text = word[2:].partition("=")
        if not equals:
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        try:
            overrides[key.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of --{key} is not valid YAML: {text!r}") from error
    return overrides


def _read(name: str) -> tuple[str, str]:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"there is no recipe file {name}")
        try:
            return path.stem, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the recipe file {name} cannot be read as text ({error})") from error
    folder = resources.files("p2o") / "runs" / "recipes"
    shipped = folder / f"{name}.yaml"
    if shipped.is_file():
        return name.replace("/", "-"), shipped.read_text(encoding="utf-8")
    names = shipped_recipes()
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    raise ConfigError(f"there is no recipe {name!r}; {hint} (a file of your own ends in .yaml)")


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    folder = Path(str(resources.files("p2o") / "runs" / "recipes"))
    return sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml"))
