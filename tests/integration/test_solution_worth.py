"""``template_worth: solution`` on the sandbox: how near failed rollouts are to the solutions, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import hard_rows, last_number, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.templates import apply_template
from p2o.data import load_samples
from p2o.runs.building import rewards_of
from p2o.runs.fixed_policy import FixedPolicy, fixed_policy
from p2o.runs.recipe import load_recipe
from p2o.trl.rollouts import RollOut

TOLD = "Show your work. Keep the carry. Go from right to left. Finish with the sum."
USELESS = "Be careful."
HARD = [s for s in load_samples("builtin:sandbox/dev") if s.columns["level"] == "hard"][:6]


def policy_with(worth: str) -> FixedPolicy:
    recipe = load_recipe("quickstart", ["--template_worth", worth])
    return fixed_policy(recipe, "builtin:sandbox", rewards_of(recipe))


def test_a_failed_rollout_is_as_near_as_its_solutions_mean_probability() -> None:
    fixed = policy_with("solution")
    rolled = fixed.evolving()([(USELESS, s) for s in HARD])
    plain = policy_with("success").evolving()([(USELESS, s) for s in HARD])
    assert not any(r.solved for r in plain)
    local: Any = fixed.local
    for sample, rollout, without in zip(HARD, rolled, plain, strict=True):
        prompt = local.tokenizer.apply_chat_template(
            apply_template(USELESS, sample.messages), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        solution = local.tokenizer(sample.columns["solution"], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = local.model(torch.tensor([[*prompt, *solution]])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1).gather(1, torch.tensor(solution)[:, None])[:, 0]
        assert rollout.near == pytest.approx(logps.mean().exp().item(), rel=1e-4)
        assert (rollout.reward, without.near) == (without.reward, None)
        assert rollout.scored_tokens == len(prompt) + len(solution)


def test_successes_are_not_scored() -> None:
    roll_out = policy_with("solution").evolving()
    told, useless = roll_out([(TOLD, s) for s in HARD]), roll_out([(USELESS, s) for s in HARD])
    solved = [r for r in told if r.solved]
    assert solved
    assert all(r.near is None and r.scored_tokens == 0 for r in solved)
    assert all(0 < r.near < 1 for r in useless)


def test_training_measures_it_on_its_evolutions_rollouts_and_not_on_its_evaluations(tmp_path: Path) -> None:
    rows = hard_rows(4)
    config = P2OConfig(**settings(tmp_path, template_worth="solution"))
    trainer: Any = P2OTrainer(
        "builtin:sandbox", last_number, config, train_dataset=rows, reflector=lambda jobs: [Any for _ in jobs]
    )
    ids = list(trainer.loop.samples)
    assert all(0 < r.near < 1 for r in trainer.carry_out(RollOut([(USELESS, i) for i in ids])))
    assert {r.near for r in trainer.roll_out([(USELESS, trainer.rows.by_id[i]) for i in ids], 0.0)} == {None}
