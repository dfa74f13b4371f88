"""``p2o compare --engine verl``: the arms of a comparison as runs of one verl command.

What an arm changes are keys of a recipe; here they become overrides (`overrides_of`). Before and after training verl's
validation data is measured, sample by sample.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.compare.arms import COMMON, DEFAULT, Arm, arms_of, given_to, method_sources
from ..analysis.compare.command import Comparison, budget_settings, check_counts, claim, launcher_words
from ..analysis.compare.runs import Command, ComparisonRun, Launcher
from ..data.sources import read
from ..errors import ConfigError
from ..runs.reading import parse_words
from ..runs.run_directory import Run
from . import NAME
from .command_file import nested, read_overrides
from .compatibility import value_at
from .settings import OWN, check_command

MAIN = "verl.trainer.main_ppo"
ONLY_AT_THE_END = 10**9
"""``trainer.test_freq`` of a run that is validated before and after alone."""

SAME = {
    "num_train_epochs": "trainer.total_epochs",
    "max_steps": "trainer.total_training_steps",
    "num_generations": "actor_rollout_ref.rollout.n",
    "lr_scheduler_type": "actor_rollout_ref.actor.optim.lr_scheduler_type",
    "output_dir": "trainer.default_local_dir",
    "eval_on_start": "trainer.val_before_train",
}
"""Keys of a recipe → verl's names."""

SEEDS = ("data.seed", "actor_rollout_ref.actor.data_loader_seed", "actor_rollout_ref.rollout.seed", f"{NAME}.seed")
"""All that follow from a run's seed."""

WITHOUT_EFFECT: Mapping[str, Any] = {"scale_steps": False, "pull": 0.0, "skip_dead_rows": True, "max_steps": -1}
"""Keys that are left out with these values: verl has none such, and its gradient is the same without them."""


def compare_on_verl(
    file: str,
    words: Sequence[str],
    arms: str | None,
    seeds: int,
    budget: str | None,
    group: str | None,
    jobs: int,
    launch: str | None,
    out: str | None,
) -> int:
    """Trains every arm with every seed by the verl command whose overrides are in a file; writes what ``p2o compare``
    writes.

    Args:
        words: more overrides, as ``--key value``.

    Raises:
        ConfigError: the file, an arm, the budget or the validation data cannot be used; or a run failed.
    """
    check_counts(seeds, jobs)
    if jobs > 1 and "RAY_ADDRESS" in os.environ:
        raise ConfigError(
            f"--jobs is {jobs}, but RAY_ADDRESS names one Ray for all runs, and verl's transfer queue takes one run at "
            "a time on a Ray (two would mix their rollouts); leave --jobs out, or unset RAY_ADDRESS"
        )
    given = [*read_overrides(file), *(f"++{key}={one.text}" for key, one in parse_words(words).items())]
    config = nested(given)
    sources = check_validation(config)
    if group and group not in sources:
        raise ConfigError(f"--group is {group!r}, but the data_source of the validation data is {sorted(sources)}")
    chosen = arms_of(None, arms.split(",") if arms else list(DEFAULT))
    overrides = [*given, f"++trainer.v1.trainer_mode={NAME}"]
    if int(value_at(config, "trainer.test_freq", -1)) <= 0:
        overrides.append(f"++trainer.test_freq={ONLY_AT_THE_END}")
    for arm in chosen:
        check_arm(arm, overrides)
    folder = Path(out) if out else Path("runs") / f"compare-{Path(file).stem}"
    methods = method_sources(str(value_at(config, f"{NAME}.method", "p2o")), chosen)
    spend = budget_settings(budget)
    claim(folder, given, spend, methods, lambda before: ["the overrides"] if before != given else [])
    return Comparison(
        name=Path(file).stem,
        overrides=words,
        arms=chosen,
        settings_of=lambda arm: arm_settings(arm, config),
        given_to=lambda arm: given_to(
            arm,
            *(
                str(value_at(config, f"{NAME}.{key}", default))
                for key, default in (("method", "p2o"), ("reflector", "policy"))
            ),
        ),
        launcher=VerlLauncher(overrides, launcher_words(launch)),
        folder=folder,
        budget=budget,
        group=group,
        groups=lambda: groups_of(folder) if len(sources) > 1 else {},
    ).make(seeds, jobs)


def check_validation(config: Mapping[str, Any]) -> set[str]:
    """The ``data_source`` of verl's validation data.

    Raises:
        ConfigError: it is not measured sample by sample, so that runs cannot be paired.
        DataError: it cannot be read.
    """
    files = value_at(config, "data.val_files", None)
    if not files:
        raise ConfigError("the command names no data.val_files to compare on; add it")
    if (draws := value_at(config, "actor_rollout_ref.rollout.val_kwargs.n", 1)) != 1:
        raise ConfigError(
            f"actor_rollout_ref.rollout.val_kwargs.n is {draws}; a comparison pairs single completions, so set it to 1"
        )
    rows = [row for file in (files if isinstance(files, list) else [files]) for row in read(str(file), None, None)]
    key = str(value_at(config, "data.prompt_key", "prompt"))
    shown = [
        json.dumps([row.get(key), (row.get("reward_model") or {}).get("ground_truth")], default=str) for row in rows
    ]
    if repeated := len(shown) - len(set(shown)):
        raise ConfigError(
            f"{repeated} rows of data.val_files repeat an earlier prompt and answer, so that runs cannot be paired by "
            "sample; drop them"
        )
    return {str(row.get("data_source")) for row in rows}


def groups_of(folder: Path) -> dict[str, str]:
    """Sample of the validation data → its ``data_source``, as any finished run has it."""
    runs = [Run(path.parents[1]) for path in sorted(folder.glob("*/seed-*/p2o/result.json"))]
    found: dict[str, str] = runs[0].result["groups"]["eval"] if runs else {}
    return found


def arm_settings(arm: Arm, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe that the arm changes.

    Args:
        config: the command's configuration, as far as it is given.
    """
    settings = {**arm.settings, **COMMON, "eval_on_start": True}
    if arm.name == "grpo_x2":
        settings["num_generations"] = 2 * int(value_at(config, "actor_rollout_ref.rollout.n", 1))
    return settings


def check_arm(arm: Arm, overrides: Sequence[str]) -> None:
    """Raises ConfigError if the arm cannot be trained by the verl command with these overrides."""
    if arm.kind == "prompt_only":
        raise ConfigError(f"the arm {arm.name} trains nothing, so it needs no verl; compare it on a recipe")
    changed = overrides_of(arm_settings(arm, nested(overrides)))
    try:
        check_command(nested([*overrides, *changed]))
    except ConfigError as error:
        raise ConfigError(f"the arm {arm.name} cannot be trained with verl: {error}") from error


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """The overrides of a verl command that keys of a recipe become.

    Raises:
        ConfigError: verl has no such setting.
    """
    words = []
    for key, value in settings.items():
        if value is None or (key in WITHOUT_EFFECT and value == WITHOUT_EFFECT[key]):
            continue
        if key == "seed":
            words += [f"++{name}={value}" for name in SEEDS]
        elif key in SAME:
            words.append(f"++{SAME[key]}={_quoted(value)}")
        elif key in OWN:
            words.append(f"++{NAME}.{key}={_quoted(value)}")
        else:
            raise ConfigError(f"{key}={value} cannot be set on verl; compare this arm on a recipe")
    return words


def _quoted(value: Any) -> str:
    """A value as Hydra reads it."""
    text = str(value)
    return text if re.fullmatch(r"[\w./:+@-]*", text) else json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True)
class VerlLauncher(Launcher):
    """Trains with verl's own command.

    Args:
        overrides: the comparison's.
        prefix: what starts ``-m verl.trainer.main_ppo``.
    """

    overrides: Sequence[str]
    prefix: Sequence[str]

    def commands(self, run: ComparisonRun) -> Iterator[Command]:
        """One command, which trains, and evaluates before and after."""
        settings = {**run.settings, "seed": run.seed, "output_dir": str(run.folder.absolute())}
        yield [*self.prefix, "-m", MAIN, *self.overrides, *overrides_of(settings)]
