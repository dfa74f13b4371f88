"""The methods that need solutions, on the built-in policy: their rows are what their equations say, and a run that was
killed ends like one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from helpers import hard_rows, log_probs, make_trainer

METHODS = ("prefix", "sage", "scaf", "luffy")


class KilledError(Exception):
    """Stands for a kill."""


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KilledError


def trainer_of(folder: Path, method: str, **changes: Any) -> Any:
    """Eight hard sums, one step an epoch. Its batches are kept as they go into the loss."""
    changes = {"num_train_epochs": 2, "per_device_train_batch_size": 32, **changes}
    trainer = make_trainer(folder, rows=8, method=method, **changes)
    make = trainer._generate_and_score_completions
    trainer.batches = []

    def kept(inputs: Any) -> Any:
        output = make(inputs)
        trainer.batches.append(({**output}, [row["sample_id"] for row in inputs]))
        return output

    trainer._generate_and_score_completions = kept
    return trainer


def epoch_files(trainer: Any) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((trainer.run_dir / "p2o").glob("epoch-*.json"))]


def questions(trainer: Any, output: dict[str, Any]) -> list[str]:
    """The text of each row's prompt in a batch."""
    ids = [row[mask.bool()] for row, mask in zip(output["prompt_ids"], output["prompt_mask"], strict=True)]
    return trainer._tokenizer.batch_decode(ids, skip_special_tokens=True)


def prompt_ids(trainer: Any, text: str) -> list[int]:
    chat = [{"role": "user", "content": text}]
    return trainer._tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"]


@pytest.mark.parametrize(("method", "steps"), [("prefix", 4), ("sage", 1)])
def test_a_failed_sample_is_drawn_and_trained_with_steps_in_front(tmp_path: Path, method: str, steps: int) -> None:
    trainer = trainer_of(tmp_path, method)
    trainer.train()
    first, second = epoch_files(trainer)
    assert all(tally["bare"] == 4 for tally in first["tallies"].values())  # no sum is solved on the bare prompt
    assert all(tally["templated"] == 4 for tally in second["tallies"].values())
    if method == "prefix":  # all four instructions
        assert second["summary"]["templated_success"] > 0.5
    output, ids = trainer.batches[1]
    for text, sample_id in zip(questions(trainer, output), ids, strict=True):
        sample = trainer.loop.samples[sample_id]
        shown = sample.columns["solution_steps"][:steps]
        heading, *lines = text.split("\n")
        assert heading == type(trainer.loop.method).heading
        assert lines == [*shown, "", sample.question]
    assert output["advantages"].abs().sum() > 0 or method == "sage"


@pytest.mark.parametrize("method", ["scaf", "scaf_sft", "scaf_shape"])
def test_the_last_row_of_a_failed_group_is_drawn_under_a_hint_that_works(tmp_path: Path, method: str) -> None:
    trainer = trainer_of(tmp_path, method, skip_dead_rows=False)
    step, untrained = trainer._compute_loss, {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    seen: list[Any] = []
    trainer._compute_loss = lambda model, inputs: (seen.append(
        all(torch.equal(untrained[n], p) for n, p in model.named_parameters())), step(model, inputs))[1]  # fmt: skip
    trainer.train()
    first, second = epoch_files(trainer)
    assert all(tally["bare"] == 4 for tally in first["tallies"].values())
    hints = trainer.loop.method.hints
    assert len(hints) >= 6
    assert {i: [t for t in slots if t] for i, slots in first["assignment"].items()} == {
        i: [h] for i, h in hints.items()
    }
    for sample_id, tally in second["tallies"].items():
        assert (tally["bare"], tally["templated"]) == ((3, 1) if sample_id in hints else (4, 0))
    assert seen == [True, True]  # nothing was learned in the first epoch: the weights below are the rollouts'

    trainer.model.load_state_dict(untrained, strict=False)  # the head is tied
    output, ids = trainer.batches[1]
    bare = [prompt_ids(trainer, trainer.loop.samples[i].question) for i in ids]
    hinted = [prompt_ids(trainer, f"{hints.get(i, '')}\n\n{trainer.loop.samples[i].question}") for i in ids]
    assert questions(trainer, output) == trainer._tokenizer.batch_decode(bare, skip_special_tokens=True)
    on_bare, under_hint = log_probs(trainer.model, bare, output), log_probs(trainer.model, hinted, output)
    checked = 0
    for n, sample_id in enumerate(ids):
        advantages_T = output["advantages"][n] if output["advantages"].dim() == 2 else output["advantages"][n, None]
        if n % 4 < 3 or sample_id not in hints or not advantages_T.any():
            continue
        success = 1 - 1 / 4  # one of four rows has reward 1, over the standard deviation 1/2 and TRL's 1e-4
        weight = {
            "scaf": (on_bare[n] - under_hint[n]).sum().clamp(-5, 5).exp(),
            "scaf_sft": torch.ones(()),
            "scaf_shape": 0.1 * on_bare[n].exp() / (on_bare[n].exp() + 0.1) ** 2,
        }[method]
        own_T = advantages_T.expand(output["completion_ids"].size(1))[: len(on_bare[n])]
        assert torch.allclose(own_T, success / (0.5 + 1e-4) * weight.expand(len(own_T)), rtol=1e-3)
        checked += 1
    assert checked >= 4


def test_the_last_row_of_each_group_is_the_solution(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "luffy", num_train_epochs=1, learning_rate=0.0)
    trainer.train()
    output, ids = trainer.batches[0]
    assert output["advantages"].shape == output["completion_ids"].shape
    bare = [prompt_ids(trainer, trainer.loop.samples[i].question) for i in ids]
    assert questions(trainer, output) == trainer._tokenizer.batch_decode(bare, skip_special_tokens=True)
    on_bare = log_probs(trainer.model, bare, output)
    eos = trainer._tokenizer.eos_token_id
    for n, sample_id in enumerate(ids):
        own = output["completion_ids"][n][output["completion_mask"][n].bool()].tolist()
        advantages_T = output["advantages"][n][: len(own)]
        if n % 4 < 3:  # failed, as all rollouts do: -1/4 over the standard deviation 1/2
            assert torch.allclose(advantages_T, torch.full((len(own),), -0.25 / (0.5 + 1e-4)))
            continue
        solution = trainer.loop.samples[sample_id].columns["solution"]
        assert own == [*trainer._tokenizer(solution)["input_ids"], eos]
        p_T = on_bare[n].exp()
        assert torch.allclose(advantages_T, 0.75 / (0.5 + 1e-4) * 0.1 * p_T / (p_T + 0.1) ** 2, rtol=1e-3)
    (epoch,) = epoch_files(trainer)
    for tally in epoch["tallies"].values():
        assert tally == {"bare": 3, "bare_solved": 0, "templated": 0, "templated_solved": 0, "spread": True}
    drawn = [n for n in range(32) if n % 4 < 3]
    assert trainer.cost["rollout"].generated_tokens == int(output["completion_mask"][drawn].sum())


def test_solutions_teach_the_bare_prompt(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "luffy", num_train_epochs=12)
    trainer.train()
    assert trainer.evaluate(hard_rows(32, "test"))["eval_bare_success"] > 0.2


def test_a_solution_that_is_too_long_is_not_given(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "luffy", num_train_epochs=1, max_completion_length=40)
    trainer.train()
    (epoch,) = epoch_files(trainer)
    short = {i for i, s in trainer.loop.samples.items() if len(s.columns["solution"]) < 40}
    assert 0 < len(short) < 8
    assert {i for i, tally in epoch["tallies"].items() if tally["bare"] == 3} == short


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_a_run_ends_with_the_same_weights(tmp_path: Path, method: str) -> None:
    changes = {"num_train_epochs": 4, "save_strategy": "epoch"}
    whole = trainer_of(tmp_path / "whole", method, **changes)
    whole.train()
    killed = trainer_of(tmp_path / "killed", method, **changes)
    killed.add_callback(KillAt(3))
    with pytest.raises(KilledError):
        killed.train()
    resumed = trainer_of(tmp_path / "killed", method, **changes)
    resumed.train(resume_from_checkpoint=True)
    for (name, mine), theirs in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert resumed.loop.state_dict() == whole.loop.state_dict()
    assert epoch_files(resumed) == epoch_files(whole)
