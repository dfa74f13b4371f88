"""P2OTrainer in GRPOTrainer's place: what TRL takes is taken with TRL's meaning, or refused in one sentence."""

import asyncio
import dataclasses
import inspect
import json

import pytest
import torch
from datasets import DatasetDict
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from drop_in import ours, theirs, train_rows
from helpers import hard_rows, letters, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.samples import Sample
from p2o.generation.models import resolve_model
from p2o.rewards.function import FunctionReward


def numbers(row):
    """A log row without what differs from run to run: times, and what only P²O has."""
    drop = ("runtime", "per_second", "step_time", "p2o/", "cost/", "total_flos")
    return {k: v for k, v in row.items() if isinstance(v, int | float) and not any(part in k for part in drop)}


# --- the log -----------------------------------------------------------------------------------------------------


def test_the_summary_of_the_run_is_the_last_row_of_the_log(tmp_path):
    trainer = ours(tmp_path, rows=4)
    trainer.train()
    assert "train_loss" in trainer.state.log_history[-1]
    assert any(
        "p2o/epoch" in row or "p2o/all_failed" in row or "p2o/hard" in row for row in trainer.state.log_history[:-1]
    )


@pytest.mark.parametrize("logging_steps", [1, 4])
def test_training_rows_are_trl_s_whatever_is_logged_between(tmp_path, logging_steps):
    """A row covers ``logging_steps`` steps, also where an epoch or an evaluation ends between them."""
    changes = {"max_steps": 8, "num_train_epochs": 9, "logging_steps": logging_steps}
    between = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": hard_rows(2, "test")}
    mine = ours(tmp_path / "ours", rows=12, skip_dead_rows=False, **changes, **between)
    mine.train()
    trl = theirs(tmp_path / "theirs", rows=12, **changes)
    trl.train()
    rows, expected = train_rows(mine), train_rows(trl)
    assert len(rows) == len(expected) == 8 // logging_steps
    for row, other in zip(rows, expected, strict=True):
        assert {k: numbers(row).get(k) for k in numbers(other)} == numbers(other)


def test_an_evaluation_outside_of_training_is_logged(tmp_path):
    trainer = ours(tmp_path, eval_dataset=hard_rows(2, "test"))
    metrics = trainer.evaluate()
    assert "eval_bare_success" in metrics
    assert trainer.state.log_history[-1]["eval_bare_success"] == metrics["eval_bare_success"]


# --- evaluation --------------------------------------------------------------------------------------------------


def test_num_generations_eval_is_the_size_of_an_evaluation_s_groups(tmp_path):
    scored = []

    def reward(completions, **kwargs):
        scored.append(len(completions))
        return letters(completions)

    test = hard_rows(4, "test")
    mine = ours(
        tmp_path / "ours", reward=reward, num_generations_eval=2, per_device_eval_batch_size=8, eval_dataset=test
    )
    metrics = mine.evaluate()
    assert 8 in scored  # four prompts twice
    trl = theirs(
        tmp_path / "theirs", reward=reward, num_generations_eval=2, per_device_eval_batch_size=8, eval_dataset=test
    )
    assert {"eval_loss"} <= metrics.keys() & trl.evaluate().keys()


@pytest.mark.parametrize("kind", [dict, DatasetDict])
def test_several_evaluation_sets(tmp_path, kind):
    sets = kind(easy=hard_rows(2, "test"), hard=hard_rows(4, "test"))
    trainer = ours(tmp_path, eval_dataset=sets, eval_strategy="epoch", num_train_epochs=1)
    trainer.train()
    logged = {name for row in trainer.state.log_history for name in row}
    assert {"eval_easy_bare_success", "eval_hard_bare_success"} <= logged
    assert {"eval_easy_bare_success", "eval_hard_bare_success"} <= trainer.evaluate().keys()


@pytest.mark.parametrize("metric", [None, "bare_success", "eval_reward", "eval_loss", "loss"])
def test_the_best_model_is_loaded_at_the_end(tmp_path, metric):
    trainer = ours(
        tmp_path,
        rows=4,
        num_train_epochs=2,
        eval_dataset=hard_rows(4, "test"),
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=metric,
    )
    trainer.train()
    assert trainer.state.best_metric is not None
    assert trainer.state.best_model_checkpoint is not None
    assert trainer.args.greater_is_better is (metric not in ("eval_loss", "loss"))


# --- arguments ---------------------------------------------------------------------------------------------------


def test_positional_arguments_are_trl_s(tmp_path):
    model = resolve_model("builtin:sandbox")
    tokenizer = AutoTokenizer.from_pretrained(model)
    args = P2OConfig(**settings(tmp_path))
    seen = []

    class Callback(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            seen.append("called")

    trainer = P2OTrainer(model, letters, args, hard_rows(4), hard_rows(2, "test"), tokenizer, None, [Callback])
    assert trainer.processing_class is tokenizer
    trainer.callback_handler.on_train_begin(args, trainer.state, trainer.control)
    assert seen == ["called"]
    with pytest.raises(TypeError):
        P2OTrainer(model, letters, args, hard_rows(4), None, *[None] * 20)


def test_every_argument_of_trl_s_is_known():
    names = list(inspect.signature(GRPOTrainer.__init__).parameters)
    own = inspect.signature(P2OTrainer.__init__)
    positional = [n for n, p in own.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == names[: len(positional)]
    catches_all = any(p.kind is p.VAR_KEYWORD for p in own.parameters.values())
    assert catches_all or set(names) <= set(own.parameters)


def test_a_plain_grpo_config_is_taken_with_our_defaults(tmp_path):
    plain = GRPOConfig(**settings(tmp_path, num_generations=4, beta=0.1, steps_per_generation=2, epsilon=0.3))
    args = P2OTrainer(resolve_model("builtin:sandbox"), letters, plain, hard_rows(8)).args
    own = P2OConfig(**settings(tmp_path, eval_sampled=True))  # TRL's configuration, TRL's own evaluation too
    for field in dataclasses.fields(P2OConfig):
        expected = getattr(plain, field.name, getattr(own, field.name))
        assert getattr(args, field.name) == expected, field.name


# --- the reference model -----------------------------------------------------------------------------------------


def test_a_synchronised_reference_model_survives_a_resume(tmp_path):
    changes = {
        "rows": 4,
        "beta": 0.5,
        "sync_ref_model": True,
        "ref_model_sync_steps": 1,
        "ref_model_mixup_alpha": 0.5,
        "max_steps": 4,
        "num_train_epochs": 9,
        "save_strategy": "steps",
        "save_steps": 2,
        "learning_rate": 1e-2,
    }
    whole = ours(tmp_path / "run", **changes)
    whole.train()
    resumed = ours(tmp_path / "run", **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for name, weight in whole.model.named_parameters():
        assert torch.equal(weight, resumed.model.get_parameter(name)), name


# --- rewards -----------------------------------------------------------------------------------------------------


def test_async_rewards_inside_a_running_loop():
    """A notebook runs one."""

    async def reward(completions, **kwargs):
        await asyncio.sleep(0)
        return [1.0 for _ in completions]

    async def cell():
        return FunctionReward(reward, "reward").score(["a"], [Sample("0", [{"role": "user", "content": "?"}])])

    [score] = asyncio.run(cell())
    assert score.reward == 1.0


def test_async_and_none_rewards_are_trained_as_in_trl(tmp_path):
    async def even(completions, **kwargs):
        return letters(completions)

    def sometimes(completions, **kwargs):
        return [None if n % 2 else 0.5 for n in range(len(completions))]

    runs = []
    for make, where in ((ours, "ours"), (theirs, "theirs")):
        changes = {"skip_dead_rows": False} if make is ours else {}
        trainer = make(tmp_path / where, reward=[even, sometimes], rows=8, max_steps=2, **changes)
        trainer.train()
        runs.append([numbers(row) for row in train_rows(trainer)])
    mine, trl = runs
    assert [{k: row[k] for k in other} for row, other in zip(mine, trl, strict=True)] == trl


def test_the_log_on_disk_is_the_log(tmp_path):
    trainer = ours(tmp_path, rows=4)
    trainer.train()
    trainer.save_state()
    saved = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert "train_loss" in saved[-1]
