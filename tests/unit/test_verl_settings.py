"""The p2o group of a verl configuration; needs no verl."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest

from p2o import P2OConfig
from p2o.errors import ConfigError
from p2o.verl.settings import VerlSettings, settings_of


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
        ("actor_rollout_ref__rollout__multi_turn__enable", True),
        ("actor_rollout_ref__actor__policy_loss__loss_mode", "geo_mean"),
        ("reward__reward_model__enable", True),
        ("actor_rollout_ref__rollout__n", 1),
    ],
)
def test_settings_of_verl_that_cannot_be_combined_are_said(key: str, value: Any) -> None:
    name = key.replace("__", ".").removesuffix(".enable" if "reward_model" in key else "")
    with pytest.raises(ConfigError, match=name):
        settings_of(verl_config(**{key: value}))


def test_the_settings_need_no_verl() -> None:
    code = "import sys, p2o.verl, p2o.verl.settings; print('verl' in sys.modules, 'trl' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]
