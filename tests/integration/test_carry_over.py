"""``template_worth: transfer`` on the sandbox: what the mask drops costs a template its worth, and is counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from helpers import hard_rows, last_number, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.cost import PhaseCost
from p2o.data import load_samples
from p2o.errors import ConfigError
from p2o.runs.building import rewards_of
from p2o.runs.fixed_policy import fixed_policy
from p2o.runs.recipe import load_recipe
from p2o.trl.rollouts import RollOut

TOLD = "Show your work. Keep the carry. Go from right to left. Finish with the sum."


def rewards_under(model: str, template: str, worth: str = "transfer") -> list[Any]:
    recipe = load_recipe("quickstart", ["--template_worth", worth, "--model_name_or_path", model])
    fixed = fixed_policy(recipe, model, rewards_of(recipe))
    hard = [s for s in load_samples("builtin:sandbox/dev") if s.columns["level"] == "hard"][:8]
    return fixed.evolving()([(template, s) for s in hard])


def trainer_of(folder: Path, model: str, **arguments: Any) -> Any:
    config = P2OConfig(**settings(folder, template_worth="transfer"))
    return P2OTrainer(model, last_number, config, train_dataset=hard_rows(4), reflector=lambda jobs: [], **arguments)


def test_a_template_whose_tokens_pass_the_mask_is_worth_its_success() -> None:
    weighed, plain = rewards_under("builtin:sandbox", TOLD), rewards_under("builtin:sandbox", TOLD, "success")
    assert [r.reward for r in weighed] == [r.reward for r in plain]
    assert sum(r.solved for r in weighed) >= 6
    assert all((r.scored_tokens > 0) == r.solved for r in weighed)
    assert all(r.scored_tokens == 0 for r in plain)


def test_a_step_that_the_bare_policy_never_takes_costs_a_factor() -> None:
    weighed = [r.reward for r in rewards_under("builtin:sandbox-switch", TOLD) if r.solved]
    assert len(weighed) >= 6
    assert weighed == pytest.approx([math.exp(-1)] * len(weighed))


def test_the_bare_prompt_is_not_scored() -> None:
    assert all(r.scored_tokens == 0 for r in rewards_under("builtin:sandbox", ""))


def test_the_scoring_pass_is_part_of_the_cost() -> None:
    spent = PhaseCost()
    rollouts = rewards_under("builtin:sandbox", TOLD)
    spent.add_rollouts(rollouts)
    assert spent.scored_tokens == sum(r.scored_tokens for r in rollouts) > 0
    assert spent.cost == spent.prompt_tokens + spent.generated_tokens + spent.scored_tokens


def test_training_weighs_its_evolutions_rollouts_and_not_its_evaluations(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "builtin:sandbox-switch")
    ids = list(trainer.loop.samples)
    weighed = [r for r in trainer.carry_out(RollOut([(TOLD, i) for i in ids])) if r.solved]
    assert weighed
    assert [r.reward for r in weighed] == pytest.approx([math.exp(-1)] * len(weighed))
    plain = trainer.roll_out([(TOLD, trainer.rows.by_id[i]) for i in ids], 0.0)
    assert {r.reward for r in plain if r.solved} == {1.0}


def test_a_served_policy_and_tools_are_refused(tmp_path: Path) -> None:
    words = ["--template_worth", "transfer", "--policy_base_url", "http://127.0.0.1:9/v1"]
    recipe = load_recipe("quickstart", words)
    with pytest.raises(ConfigError, match="the log-probs of a served policy cannot be had"):
        fixed_policy(recipe, "model", rewards_of(recipe)).evolving()

    def double(x: int) -> int:
        """Doubles a number.

        Args:
            x: The number.
        """
        return 2 * x

    with pytest.raises(ConfigError, match="cannot score conversations with tools"):
        trainer_of(tmp_path, "builtin:sandbox-tools", tools=[double])
