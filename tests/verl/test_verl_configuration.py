"""verl's own configurations against the checks of P²O's settings."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_run import OWN_RAY, P2O, overrides

from p2o.runs.recipe import load_recipe
from p2o.verl.conversion import recipe_settings
from p2o.verl.settings import settings_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "verl" / "deepmath_qwen3_4b.sh"
GENERIC = ["algorithm.adv_estimator=grpo", "actor_rollout_ref.rollout.n=8", "actor_rollout_ref.rollout.name=vllm"]


def configuration(name: str, changes: list[str]) -> dict[str, Any]:
    with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        resolved: dict[str, Any] = OmegaConf.to_container(compose(name, changes), resolve=True)
    return resolved


@pytest.mark.parametrize("name", ["ppo_trainer", "ppo_megatron_trainer"])
def test_no_setting_of_verl_is_taken_for_one_of_ours(name: str) -> None:
    assert settings_of(configuration(name, GENERIC)).num_generations == 8


def test_the_example_is_the_papers_recipe() -> None:
    # The script's arrays hold the overrides; "exec python -m MODULE" is not run.
    script = EXAMPLE.read_text().replace("exec python -m verl.trainer.main_ppo", "printf '%s\\n'")
    given = subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, check=True).stdout.split("\n")
    config = configuration("ppo_trainer", [line for line in given if line])
    recipe = load_recipe("paper/deepmath_5k_self")
    wanted = {**asdict(recipe.model), **asdict(recipe.task), **vars(recipe.training)}
    found = {**recipe_settings(config, str(EXAMPLE)), **vars(settings_of(config))}
    differing = {name for name, value in found.items() if name in wanted and wanted[name] != value}
    unused = {"reflect_temperature", "reflect_max_tokens"}  # of reflectors that are not asked
    assert differing == {"rewards", "reflector_model", "reflector_base_url", *unused}
    assert config["data"]["apply_chat_template_kwargs"] == {"enable_thinking": False}


def test_the_tiny_runs_overrides_are_read(tmp_path: Path) -> None:
    settings = settings_of(configuration("ppo_trainer", [*overrides(tmp_path), *OWN_RAY, *P2O]))
    assert (settings.reflector, settings.evolve_budget, settings.bare_slots) == ("phrases", "150", 1)
