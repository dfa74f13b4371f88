"""Training ends when a budget is spent."""

import pytest

from helpers import make_trainer


@pytest.mark.parametrize(("budget", "steps"), [({"max_rollouts": 9}, 3), ({"max_cost": 1.0}, 1), ({}, 4)])
def test_a_run_ends_when_its_budget_is_spent(tmp_path, budget, steps):
    # 4 rollouts in each step, 4 steps in all.
    trainer = make_trainer(
        tmp_path, per_device_train_batch_size=4, num_generations=4, max_steps=4, method="grpo", **budget
    )
    trainer.train()
    assert trainer.state.global_step == steps
    assert trainer.global_cost().training_rollouts == 4 * steps
