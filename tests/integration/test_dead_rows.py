"""Leaving dead rows out changes neither loss nor gradient, for every loss type."""

import warnings

import pytest
import torch
from peft import LoraConfig

from helpers import ALL_FOUR, hard_rows, letters, make_trainer, rollout_batch, settings
from p2o import P2OConfig, P2OTrainer
from p2o.generation.models import resolve_model
from p2o.trl.dead_rows import live_rows, rows_to_keep

LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"]


def loss_and_grads(trainer, batch, skip):
    trainer.args.skip_dead_rows = skip
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters()}


def assert_same(trainer, batch):
    full_loss, full = loss_and_grads(trainer, batch, skip=False)
    loss, grads = loss_and_grads(trainer, batch, skip=True)
    assert loss == pytest.approx(full_loss, rel=1e-4, abs=1e-7)
    scale = max(g.abs().max() for g in full.values())
    for name, grad in full.items():
        assert torch.allclose(grads[name], grad, rtol=1e-3, atol=1e-5 * scale), name
    return grads


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_loss_and_gradient_are_the_full_batch_s(tmp_path, loss_type):
    trainer = make_trainer(tmp_path, letters, loss_type=loss_type)
    batch = rollout_batch(trainer, "")
    dead = torch.arange(len(batch["advantages"])) % 4 != 1  # three of four rows
    batch["advantages"] = torch.linspace(-1.5, 1.3, len(dead)).masked_fill(dead, 0.0)
    assert len(live_rows(batch)) == 4
    grads = assert_same(trainer, batch)
    assert any((g != 0).any() for g in grads.values())
    assert trainer._metrics["train"]["p2o/skipped_rows"] == [0.75]


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo"])
def test_with_templates_and_their_ratio_mask(tmp_path, loss_type):
    trainer = make_trainer(tmp_path, loss_type=loss_type)
    batch = rollout_batch(trainer, ALL_FOUR)
    assert batch["advantages"].dim() == 2
    batch["advantages"][:8] = 0
    assert_same(trainer, batch)


def test_all_dead_leaves_zero_gradients_not_none(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = rollout_batch(trainer, "")  # bare, no hard sum is solved
    assert live_rows(batch) == []
    loss, grads = loss_and_grads(trainer, batch, skip=True)
    assert loss == 0
    assert all((g == 0).all() for g in grads.values())


def test_training_on_mostly_dead_groups_ends_with_the_same_weights(tmp_path):
    def reward(prompts, completions, **kwargs):
        # every second question has spread, also across the two micro-batches of a step
        return [v if len(str(p)) % 2 else 0.0 for p, v in zip(prompts, letters(completions), strict=True)]

    weights = []
    for skip in (True, False):
        trainer = make_trainer(
            tmp_path / str(skip), reward, rows=8, max_steps=3, gradient_accumulation_steps=2, skip_dead_rows=skip,
            optim="sgd", learning_rate=0.1,
        )  # fmt: skip
        trainer.train()
        weights.append({n: p.detach().clone() for n, p in trainer.model.named_parameters()})
    for name in weights[0]:
        assert torch.allclose(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("changes", [{"beta": 0.1}, {"entropy_coef": 0.1}, {"top_entropy_quantile": 0.5}])
def test_off_by_itself_where_a_dead_row_matters(tmp_path, changes):
    assert not make_trainer(tmp_path, letters, **changes).skips_dead_rows


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_dropout_switches_it_off_and_the_user_is_told(tmp_path, dropout):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = P2OTrainer(
            resolve_model("builtin:sandbox"),
            letters,
            P2OConfig(**settings(tmp_path)),
            train_dataset=hard_rows(4),
            peft_config=LoraConfig(target_modules="all-linear", lora_dropout=dropout),
        )
    told = [str(w.message) for w in caught if "lora_dropout" in str(w.message)]
    assert trainer.skips_dead_rows is (dropout == 0)
    assert len(told) == (dropout > 0)


def test_ranks_can_be_given_equally_many_rows():
    assert rows_to_keep([1, 4], 6, 2) == [1, 4]
    assert rows_to_keep([1, 4], 6, 4) == [0, 1, 2, 4]
    assert rows_to_keep([], 6, 1) == [0]


def test_hard_rows_helper_is_hard():
    assert all(row["level"] == "hard" for row in hard_rows(4))
