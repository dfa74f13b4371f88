"""``p2o compare``: makes the runs of a comparison and writes what they came to."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ...base.files import read_json, write_json, write_text
from ...base.markdown import table
from ...base.terminal import console
from ...errors import ConfigError
from ...runs.building import rewards_of, samples_of
from ...runs.reading import words_without_secrets
from ...runs.recipe import Recipe, changed_keys, load_recipe
from .arms import COMMON, DEFAULT, Arm, arms_of, given_to, is_equalled, method_sources, settings_of
from .figure import draw
from .runs import ComparisonRun, Launcher, RecipeLauncher, Runner
from .summary import ArmSummary, reference_of, summarize
from .table import notes_of, rows_of, terminal_table

BUDGETS = {"cost": "max_cost", "rollouts": "max_rollouts", "steps": "max_steps"}
UNTIL_SPENT = 100_000
"""Epochs of a run that another budget ends."""


def check_counts(seeds: int, jobs: int) -> None:
    """Raises ConfigError if a comparison cannot have so many seeds or jobs."""
    if seeds < 1 or jobs < 1:
        raise ConfigError(f"--seeds is {seeds} and --jobs {jobs}; both must be at least 1")


def compare(
    name: str,
    overrides: Sequence[str],
    arms: str | None,
    seeds: int,
    budget: str | None,
    group: str | None,
    jobs: int,
    launch: str | None,
    out: str | None,
) -> int:
    """Trains every arm with every seed, and writes ``compare.json``, a table and a figure of all runs in the folder."""
    check_counts(seeds, jobs)
    recipe = load_recipe(name, overrides)
    if not recipe.task.test:
        raise ConfigError(f"the recipe {recipe.name} names no test data to compare on; set 'test' to a data source")
    chosen = arms_of(recipe, arms.split(",") if arms else list(DEFAULT))
    spend = budget_settings(budget)
    test = samples_of(recipe, "test")
    rewards_of(recipe)
    column = recipe.training.eval_group_column
    groups = {s.id: str(s.columns[column]) for s in test if column and column in s.columns}
    if group and group not in groups.values():
        raise ConfigError(f"--group is {group!r}, but the groups of the test data are {sorted(set(groups.values()))}")
    schedule = recipe.training.lr_scheduler_type
    if getattr(schedule, "value", schedule) != COMMON["lr_scheduler_type"]:
        console.print("the learning rate is constant in a comparison: a schedule distorts what is read at equal cost")
    folder = Path(out) if out else Path("runs") / f"compare-{recipe.name}"
    claim_folder(folder, recipe, spend, method_sources(recipe.training.method, chosen))
    launcher = RecipeLauncher(
        recipe=name,
        overrides=overrides,
        prefix=launcher_words(launch),
        parts={"test": str(recipe.task.test), **{f"ood_{n}": source for n, source in recipe.task.ood.items()}},
        model=str(recipe.model.model_name_or_path),
    )
    return Comparison(
        name=recipe.name,
        overrides=overrides,
        arms=chosen,
        settings_of=lambda arm: settings_of(arm, recipe),
        given_to=lambda arm: given_to(
            arm, recipe.training.method, recipe.task.reflector, recipe.training.template_worth
        ),
        launcher=launcher,
        folder=folder,
        budget=budget,
        group=group,
        groups=lambda: groups,
    ).make(seeds, jobs)


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how its runs are started."""

    name: str
    """For the reader of the table."""
    overrides: Sequence[str]
    arms: Sequence[Arm]
    """In the table's order."""
    settings_of: Callable[[Arm], Mapping[str, Any]]
    """The keys of the recipe that an arm changes."""
    given_to: Callable[[Arm], str]
    """What an arm is given beside the rewards."""
    launcher: Launcher
    folder: Path
    budget: str | None
    group: str | None
    groups: Callable[[], Mapping[str, str]]
    """Test sample id → its group; asked when the runs are made."""

    def make(self, seeds: int, jobs: int) -> int:
        """Makes the runs that are not finished, then those at equal cost, and writes what all came to.

        Raises:
            ConfigError: a run failed; the others were made.
        """
        spend, runner = budget_settings(self.budget), Runner(self.launcher, jobs)
        equal = [arm for arm in self.arms if arm.kind == "equal_cost"]
        runs = [
            ComparisonRun(arm, seed, self.folder, {**self.settings_of(arm), **spend})
            for seed in range(seeds)
            for arm in self.arms
            if arm not in equal
        ]
        runner.make(runs, waiting=len(equal) * seeds)
        made = [run for run in runs if run.finished]
        runner.make([run for arm in equal for seed in range(seeds) for run in self._equal(arm, seed, made)])
        results = {arm.name: [run.result(self.group) for run in finished(arm, self.folder)] for arm in self.arms}
        if any(results.values()):
            given = {arm.name: self.given_to(arm) for arm in self.arms}
            summaries = summarize(self.arms, results, self.groups(), self.group, given)
            _write(self.folder, summaries, self.name, self.overrides, self.budget, self.group)
        if runner.failures:
            raise ConfigError(
                "; ".join(runner.failures) + "; the same command makes these runs again, and keeps the others"
            )
        return 0

    def _equal(self, arm: Arm, seed: int, made: Sequence[ComparisonRun]) -> list[ComparisonRun]:
        """The run that is given what the dearest other method of its seed cost; none if those runs failed."""
        costs = [run.result(None).cost for run in made if run.seed == seed and is_equalled(run.arm)]
        if not costs:
            return []
        spend = {"max_cost": max(costs), "max_rollouts": None, "max_steps": -1, "num_train_epochs": UNTIL_SPENT}
        return [ComparisonRun(arm, seed, self.folder, {**self.settings_of(arm), **spend})]


def launcher_words(launch: str | None) -> list[str]:
    """The words of ``--launch``; this Python without it."""
    try:
        return shlex.split(launch) if launch else [sys.executable]
    except ValueError as error:
        raise ConfigError(f"--launch is {launch!r}, which is no command ({error})") from error


def budget_settings(budget: str | None) -> dict[str, Any]:
    """The keys that end a run when a budget is spent; none without one (the recipe's own epochs).

    Raises:
        ConfigError: not ``cost=…``, ``rollouts=…`` or ``steps=…`` with a number above 0.
    """
    if budget is None:
        return {}
    kind, _, text = budget.partition("=")
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if kind not in BUDGETS or not 1 <= amount < 1e30:
        raise ConfigError(f"--budget is {budget!r}; write cost=, rollouts= or steps= and a number, as in cost=2e6")
    return {BUDGETS[kind]: int(amount), "num_train_epochs": UNTIL_SPENT}


def finished(arm: Arm, folder: Path) -> list[ComparisonRun]:
    """The arm's finished runs in a comparison's folder, by seed."""
    seeds = sorted(int(path.name.removeprefix("seed-")) for path in (folder / arm.name).glob("seed-*") if path.is_dir())
    runs = [ComparisonRun(arm, seed, folder, {}) for seed in seeds]
    return [run for run in runs if run.finished]


def claim_folder(folder: Path, recipe: Recipe, spend: Mapping[str, Any], methods: Mapping[str, str]) -> None:
    """Marks the folder as this comparison's; more arms and seeds may be added to it later.

    Raises:
        ConfigError: it holds a comparison with other settings, or runs of a method whose file has changed since.
    """
    settings = yaml.safe_load(recipe.to_yaml(folder))
    may_differ = ("output_dir", "seed", "arms")
    claim(
        folder,
        settings,
        spend,
        methods,
        lambda before: [k for k in changed_keys(before, settings, folder) if k not in may_differ],
    )


def claim(
    folder: Path,
    settings: Any,
    spend: Mapping[str, Any],
    methods: Mapping[str, str],
    changed_since: Callable[[Any], list[str]],
) -> None:
    """`claim_folder` for settings of any kind.

    Args:
        changed_since: what differs from earlier settings, in words.
    """
    file = folder / "comparison.json"
    known: dict[str, str] = {}
    if file.exists():
        before = read_json(file)
        changed = changed_since(before["settings"])
        changed += ["the budget"] if before["budget"] != spend else []
        known = before.get("methods", {})
        changed += [f"the file of {name}" for name, digest in methods.items() if known.get(name, digest) != digest]
        if changed:
            raise ConfigError(
                f"{folder} holds a comparison with other settings ({', '.join(changed)} differ); take another --out"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; set --out to another folder") from error
    write_json(file, {"settings": settings, "budget": dict(spend), "methods": {**known, **methods}})


def _write(
    folder: Path,
    summaries: Sequence[ArmSummary],
    name: str,
    overrides: Sequence[str],
    budget: str | None,
    group: str | None,
) -> None:
    reference = reference_of([s.name for s in summaries])
    content = {
        "recipe": name,
        "overrides": words_without_secrets(overrides),
        "budget": budget,
        "group": group,
        "reference": reference,
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": {n: version(n) for n in ("p2o-rl", "torch", "transformers", "trl", "gepa")},
        "arms": [asdict(summary) for summary in summaries],
    }
    write_text(folder / "compare.json", json.dumps(content, indent=None, ensure_ascii=False) + "\n")
    rows = rows_of(summaries, reference, group)
    notes = notes_of(summaries, group)
    said = [f"- `{s.name}`: {s.what}" for s in summaries] + [f"- {note}" for note in notes]
    write_text(folder / "compare.md", table(rows[0], rows[1:]) + "\n\n" + "\n".join(said) + "\n")
    label = f"held-out bare success{f', {group}' if group else ''} (%)"
    draw(summaries, label, [folder / "compare.png", folder / "compare.svg"])
    console.print(terminal_table(summaries, reference, f"{label}: {name}"))
    for note in notes:
        console.print(note)
    console.print(
        f"the figures are in {folder / 'compare.json'}, with compare.md, compare.png and compare.svg beside it"
    )
