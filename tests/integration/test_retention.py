"""``scale_steps`` and ``pull``: how far a step moves the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from helpers import hard_rows, make_trainer, settings
from p2o import P2OConfig, P2OTrainer
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model

Weights = dict[str, torch.Tensor]


def spread_in(questions: int) -> Callable[..., list[float]]:
    """A reward with a spread in so many of the step's questions."""

    def reward(prompts: Any, completions: Any, **kwargs: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        drawn: dict[str, set[str]] = {}
        for prompt, text in zip(prompts, texts, strict=True):
            drawn.setdefault(str(prompt), set()).add(text)
        # among the questions whose completions differ: else the gradients of a group cancel
        alive = [p for p in drawn if len(drawn[p]) > 1][:questions]
        assert len(alive) == questions
        return [float(str(p) in alive and t == min(drawn[str(p)])) for p, t in zip(prompts, texts, strict=True)]

    return reward


def every_second(completions: Any, **kwargs: Any) -> list[float]:
    return [float(n % 2) for n in range(len(completions))]


def trained(out: Path, reward: Any, **changes: Any) -> tuple[Weights, Weights]:
    """The weights before and after training."""
    trainer = make_trainer(out, reward, skip_dead_rows=False, temperature=2.0, **changes)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [trainer.args.learning_rate] * len(
        trainer.optimizer.param_groups
    )
    return before, {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def test_an_adam_step_is_as_long_as_the_share_of_groups_with_a_spread(tmp_path: Path) -> None:
    before, full = trained(tmp_path / "full", spread_in(1), max_steps=1)
    _, scaled = trained(tmp_path / "scaled", spread_in(1), max_steps=1, scale_steps=True)
    moved = sum((full[n] - before[n]).norm() ** 2 for n in full) ** 0.5
    for name, start in before.items():
        assert torch.allclose(scaled[name] - start, (full[name] - start) / 4, atol=1e-6), name
    assert moved > 0.01


def test_where_all_groups_have_a_spread_nothing_changes(tmp_path: Path) -> None:
    for changes in ({}, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}):
        _, plain = trained(tmp_path / "plain", every_second, max_steps=3, num_train_epochs=3, **changes)
        _, scaled = trained(
            tmp_path / "scaled", every_second, max_steps=3, num_train_epochs=3, scale_steps=True, **changes
        )
        assert all(torch.equal(plain[n], scaled[n]) for n in plain)


def test_a_step_without_a_spread_moves_nothing_although_adam_remembers(tmp_path: Path) -> None:
    steps = {"calls": 0}

    def reward(completions: Any, **kwargs: Any) -> list[float]:
        steps["calls"] += 1
        return [float(n % 2 and steps["calls"] == 1) for n in range(len(completions))]

    ends = []
    for count in (1, 3):
        steps["calls"] = 0
        ends.append(trained(tmp_path / str(count), reward, max_steps=count, num_train_epochs=3, scale_steps=True)[1])
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_each_step_is_pulled_back_to_the_start(tmp_path: Path) -> None:
    before, plain = trained(tmp_path / "plain", every_second, max_steps=1)
    _, pulled = trained(tmp_path / "pulled", every_second, max_steps=1, pull=0.25)
    for name, start in before.items():
        assert torch.allclose(pulled[name], start + 0.75 * (plain[name] - start), atol=1e-7), name
    assert any((plain[n] != start).any() for n, start in before.items())


def test_an_adapter_is_not_pulled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set pull to 0"):
        P2OTrainer(
            resolve_model("builtin:sandbox"),
            every_second,
            P2OConfig(**settings(tmp_path, pull=0.01)),
            train_dataset=hard_rows(4),
            peft_config=LoraConfig(target_modules="all-linear"),
        )
