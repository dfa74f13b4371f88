"""The p2o group of a verl configuration; needs no verl."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from trl import GRPOConfig

from p2o import P2OConfig
from p2o.core.methods import load_method
from p2o.core.methods.known import METHODS
from p2o.errors import ConfigError, P2OError
from p2o.runs.recipe import RecipeConfig
from p2o.verl.settings import OWN, VerlSettings, check_command, settings_of
from p2o.verl.training_data import agent_of, read_samples, sample_of


def verl_config(p2o: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The part of a resolved verl configuration that is looked at; ``changes`` are dotted keys with __ for a dot."""
    config: dict[str, Any] = {
        "algorithm": {"adv_estimator": "grpo", "rollout_correction": {"bypass_mode": False}},
        "actor_rollout_ref": {"rollout": {"n": 6}, "actor": {"policy_loss": {"loss_mode": "vanilla"}}},
        "p2o": p2o or {},
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        place = config
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return config


def test_defaults_are_the_trl_trainers() -> None:
    ours = {f.name: f.default for f in fields(VerlSettings)}
    theirs = {f.name: f.default for f in fields(P2OConfig)}
    shared = (ours.keys() & theirs.keys()) - {"num_generations"}
    assert len(shared) > 20
    assert {n: ours[n] for n in shared if ours[n] is not MISSING} == {n: theirs[n] for n in shared}


def test_the_table_of_features_has_every_key_of_ours() -> None:
    """A key of P²O is a setting on verl, or docs/verl.md says what there is in its place."""
    own = {f.name for f in fields(RecipeConfig)} | {f.name for f in fields(P2OConfig)} - {
        f.name for f in fields(GRPOConfig)
    }
    table = (Path(__file__).parents[2] / "docs" / "verl.md").read_text().split("## What of P²O runs on verl")[1]
    named = set(re.findall(r"[a-z][a-z0-9_]+", " ".join(re.findall(r"`([^`]+)`", table))))
    assert own - OWN - named == {"train", "tools", "environment", "rewards"}, "said in other words there"
    refused = {name for name in METHODS if load_method(name).needs_trl}
    assert refused | {"kl", "self", "transfer"} <= named


def test_reads_overrides() -> None:
    settings = settings_of(verl_config({"tau": 1, "ratio_low": "1e-2", "reflector_phrases": ["Be brief."]}))
    assert (settings.tau, settings.ratio_low, settings.num_generations, settings.bare_slots) == (1, 0.01, 6, 0)
    assert settings.reflector_phrases == ["Be brief."]


@pytest.mark.parametrize(
    ("p2o", "says"),
    [
        ({"tua": 2}, "did you mean tau"),
        ({"tau": 0}, "at least 1"),
        ({"tau": "two"}, "whole number"),
        ({"ratio_low": 2}, "must hold 1"),
        ({"evolve_budget": "heavier"}, "heavier"),
        ({"bare_slots": 6}, "from 0 to 5"),
        ({"withdrawal": "graduated", "bare_slots": 0}, "from 1 to 5"),
        ({"reflector": "self"}, "vllm serve"),
        ({"num_generations": 4}, "num_generations"),
        ({"method": "dapo"}, "acts within a training step"),
        ({"method": "zvp"}, "acts within a training step"),
        ({"method": "luffy"}, "acts within a training step"),
        ({"method": "hdpo"}, "acts within a training step"),
        ({"method": "opsd"}, "acts within a training step"),
    ],
)
def test_wrong_settings_are_said(p2o: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings_of(verl_config(p2o))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("algorithm__adv_estimator", "gae"),
        ("algorithm__rollout_correction__bypass_mode", True),
        ("algorithm__filter_groups__enable", True),
        ("trainer__v1__sampler__sync_refill_failed_groups", True),
        ("actor_rollout_ref__rollout__enable_rollout_routing_replay", True),
        ("actor_rollout_ref__actor__policy_loss__loss_mode", "geo_mean"),
        ("reward__reward_model__enable", True),
        ("actor_rollout_ref__rollout__n", 1),
        ("actor_rollout_ref__rollout__agent__default_agent_loop", "p2o"),
        ("actor_rollout_ref__rollout__agent__agent_loop_manager_class", "mine.Manager"),
        ("skip__rollout_tq__enable", True),
    ],
)
def test_settings_of_verl_that_cannot_be_combined_are_said(key: str, value: Any) -> None:
    name = key.replace("__", ".").removesuffix(".enable" if "reward_model" in key else "")
    with pytest.raises(ConfigError, match=name):
        settings_of(verl_config(**{key: value}))


@pytest.mark.parametrize("agent_loop", ["single_turn_agent", "tool_agent", "my_agent", None])
def test_any_agent_loop_is_wrapped(agent_loop: str | None) -> None:
    rollout = "actor_rollout_ref__rollout"
    changes = {f"{rollout}__agent__default_agent_loop": agent_loop, f"{rollout}__multi_turn__enable": True}
    settings_of(verl_config(**changes))


@pytest.mark.parametrize(
    "key",
    [
        "trainer__gepa__enabled", "gepa__auto", "trainer__v1__p2o__tau", "trainer__p2o__tau", "P2O__tau", "p20__tau",
        "p2o_tau", "tau", "trainer__tau", "algorithm__evolve_budget", "trainer__v1__reflector",
        "actor_rollout_ref__p2o__tau",
    ],
)  # fmt: skip
def test_settings_that_nothing_would_read_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"is read by nothing.*\+p2o\."):
        settings_of(verl_config(**{key: 1}))


@pytest.mark.parametrize("key", ["distillation__enabled", "data__seed", "trainer__project_name", "data__tau"])
def test_names_that_verl_or_a_user_may_read_are_let_through(key: str) -> None:
    settings_of(verl_config(**{key: "p2o"}))


def test_a_value_in_place_of_the_group_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\+p2o.NAME=VALUE"):
        settings_of({**verl_config(), "p2o": True})


@pytest.mark.parametrize("change", [{"trainer__v1__trainer_mode": "sync"}, {"trainer__use_v1": False}])
def test_a_group_that_another_trainer_would_not_read_is_refused(change: dict[str, Any]) -> None:
    chosen = {"trainer__v1__trainer_mode": "p2o"}
    check_command(verl_config({"tau": 1}, **chosen))
    with pytest.raises(ConfigError, match=r"trainer\.v1\.trainer_mode=p2o"):
        check_command(verl_config({"tau": 1}, **(chosen | change)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"method": "p20"}, "did you mean p2o"),
        ({"method": "no_such_file.py:Mine"}, "no_such_file"),
        ({"reflector": "opnai"}, "opnai"),
        ({"reflector": "openai"}, "reflector_model"),
        ({"reflector": "openai", "reflector_model": "m", "reflector_api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"reflector": "no_such_module:write"}, "no_such_module"),
    ],
)
def test_a_method_or_reflector_that_cannot_be_loaded_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(P2OError, match=says):
        check_command(verl_config(given, trainer__v1__trainer_mode="p2o"))


def row(*messages: tuple[str, Any], **columns: Any) -> dict[str, Any]:
    return {"raw_prompt": [{"role": role, "content": content} for role, content in messages], **columns}


def test_rows_become_samples_by_prompt_and_answer() -> None:
    gold = {"ground_truth": 5}
    rows = [
        row(("user", "2+3?"), reward_model=gold, uid="a"),
        row(("user", "2+4?"), reward_model=gold),
        row(("user", "2+3?"), reward_model=gold, uid="b"),
        row(("user", "2+3?"), reward_model={"ground_truth": "6"}),
    ]
    found = read_samples(rows)
    assert [n for n, _ in found.values()] == [0, 1, 3], "a row that repeats is its sample's first row"
    assert [sample.answer for _, sample in found.values()] == ["5", "5", "6"]
    assert all(sample_of(rows[n]).id == i for i, (n, _) in found.items())


def test_rows_that_set_up_another_environment_are_other_samples() -> None:
    rows = [row(("user", "Play."), tools_kwargs={"game": {"seed": seed}}, index=n) for n, seed in enumerate((1, 2, 1))]
    assert [n for n, _ in read_samples(rows).values()] == [0, 1]
    assert sample_of(row(("user", "Play."), tools_kwargs={})).id == sample_of(row(("user", "Play."))).id


def test_a_row_names_its_agent_loop() -> None:
    named, unnamed = row(("user", "2+3?"), agent_name="tool_agent"), row(("user", "2+3?"))
    assert [agent_of(r, "single_turn_agent") for r in (named, unnamed)] == ["tool_agent", "single_turn_agent"]


@pytest.mark.parametrize(
    "bad",
    [
        row(("user", [{"type": "image", "image": object()}])), row(("system", "Be brief.")), row(("user", "  ")),
        {"raw_prompt": "2+3?"}, {"prompt": "2+3?"}, row(("user", "2+3?"), agent_name="p2o"),
    ],
)  # fmt: skip
def test_rows_that_take_no_template_are_refused_with_their_number(bad: dict[str, Any]) -> None:
    with pytest.raises(P2OError, match=r"row 2 of data\.train_files"):
        read_samples([row(("user", "2+3?")), bad])


def test_the_settings_need_no_verl() -> None:
    code = "import sys, p2o.verl, p2o.verl.settings; print('verl' in sys.modules, 'trl' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]
