"""The methods that need no solutions on TRL's trainer: exact where they change nothing, resumed, on two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

import launch
from helpers import KillAt, KilledError, by_thirds, hard_rows, make_trainer, settings
from p2o.core.methods.dapo import DAPO
from p2o.core.methods.zvp import flat_advantages
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model
from p2o.runs.run_directory import read_run

SCRIPT = Path(__file__).parents[1] / "support" / "rival_ranks.py"
RIVALS = ["dapo", "zvp", "knapsack"]


class DapoWithPrompts(DAPO):
    def prompts(self, sample_id: str) -> list[str]:
        return ["Think."] * self.group_size


def every_second(completions: Any, **kwargs: Any) -> list[float]:
    return [float(n % 2) for n in range(len(completions))]


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def all_fail(completions: Any, **kwargs: Any) -> list[float]:
    return [0.0] * len(completions)


def thirds(trainer: Any) -> dict[int, list[str]]:
    """Remainder of the answer → the samples with it (0: spread, 1: all failed, 2: all solved)."""
    samples = trainer.loop.samples
    found = {n: [i for i, s in samples.items() if int(s.answer) % 3 == n] for n in range(3)}
    assert all(found.values())
    return found


# --- exactness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", RIVALS)
def test_where_every_group_has_a_spread_a_method_is_trl_to_the_bit(tmp_path: Path, method: str) -> None:
    shared = {"num_train_epochs": 1, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}
    ours = make_trainer(tmp_path / "ours", every_second, rows=8, method=method, skip_dead_rows=False, **shared)
    ours.train()
    theirs = GRPOTrainer(
        resolve_model("builtin:sandbox"),
        every_second,
        GRPOConfig(**settings(tmp_path / "theirs", **shared)),
        train_dataset=hard_rows(8),
    )
    start = weights_of(theirs)
    theirs.train()
    for name, weights in weights_of(theirs).items():
        assert torch.equal(weights_of(ours)[name], weights), name
    assert any(not torch.equal(start[name], weights) for name, weights in weights_of(theirs).items())
    assert ours.cost["rollout"].rollouts == 32


# --- dapo ------------------------------------------------------------------------------------------------------------


def test_dapo_fills_the_batch_with_groups_that_have_a_spread(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, by_thirds, rows=24, method="dapo")
    spread = set(thirds(trainer)[0])
    assert len(spread) >= 4
    first = [row for row in list(trainer.rows.by_id.values())[:4] for _ in range(4)]
    assert {row["sample_id"] for row in first} - spread
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions([dict(row) for row in first])
    assert (batch["advantages"].view(4, 4) != 0).any(dim=1).all()
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum()
    # every draw is counted, and is in the ledger
    tallies = trainer.loop.ledger.tallies
    drawn = sum(tally.rollouts for tally in tallies.values())
    assert trainer.cost["rollout"].rollouts == drawn > 16
    assert all(tally.rollouts == 4 for tally in tallies.values())
    assert {i for i, tally in tallies.items() if tally.spread} <= spread
    # each row is what its own prompt gave: the completion's tokens are in the loss of their sample's prompt
    texts = trainer._tokenizer.batch_decode(batch["prompt_ids"] * batch["prompt_mask"], skip_special_tokens=True)
    assert sum(any(str(trainer.loop.samples[i].question) in text for i in spread) for text in texts) == 16


def test_dapo_keeps_the_groups_without_spread_when_nothing_else_is_left(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, all_fail, rows=12, method="dapo", num_train_epochs=1)
    start = weights_of(trainer)
    trainer.train()
    # 3 batches of 4 groups; the 8 other samples are tried in each
    assert trainer.cost["rollout"].rollouts == 3 * 12 * 4
    assert all(torch.equal(start[name], weights) for name, weights in weights_of(trainer).items())


def test_a_method_that_replaces_groups_gives_no_prompts(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, by_thirds, rows=12, method=f"{__file__}:DapoWithPrompts")
    with pytest.raises(ConfigError, match="gives prompts and replaces groups too"):
        trainer.train()


def test_the_plan_says_that_rollouts_may_be_drawn_again(capsys: pytest.CaptureFixture[str]) -> None:
    from p2o.cli.main import main

    assert main(["train", "quickstart", "--method", "dapo", "--dry-run"]) == 0
    assert "up to 10 times the rollouts" in " ".join(capsys.readouterr().out.replace("#", " ").split())


# --- zvp -------------------------------------------------------------------------------------------------------------


def test_zvp_gives_flat_groups_the_advantages_of_their_entropies(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, by_thirds, rows=12, method="zvp")
    parts = thirds(trainer)
    chosen = [parts[0][0], parts[1][0], parts[2][0]]
    rows = [dict(trainer.rows.by_id[i]) for i in chosen for _ in range(4)]
    trainer.model.train()
    batch = trainer._generate_and_score_completions(rows)
    advantages, tokens = batch["advantages"], batch["completion_mask"]
    assert advantages.shape == tokens.shape
    first = advantages[:4]
    assert (first == first[:, :1]).all()  # GRPO's, one for all tokens
    for n in range(4, 12):
        ids = batch["prompt_ids"][n][batch["prompt_mask"][n].bool()]
        completion = batch["completion_ids"][n][tokens[n].bool()]
        with torch.no_grad():
            logps = trainer.model(torch.cat([ids, completion])[None]).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        entropies = -(logps.exp() * logps).sum(-1)[None]
        wanted = flat_advantages(entropies, torch.ones_like(entropies), torch.tensor([n >= 8]), alpha=0.1)[0]
        assert torch.allclose(advantages[n][: len(completion)], wanted, atol=1e-5)
        assert not advantages[n][len(completion) :].any()
    assert (advantages[4:8] <= 0).all()
    assert (advantages[8:] >= 0).all()
    assert trainer.cost["ratio"].scored_tokens == int(batch["prompt_mask"][4:].sum() + tokens[4:].sum())


def test_zvp_trains_where_grpo_does_not(tmp_path: Path) -> None:
    moved = []
    for method in ("grpo", "zvp"):
        trainer = make_trainer(tmp_path / method, all_fail, method=method, num_train_epochs=1)
        before = weights_of(trainer)
        trainer.train()
        moved.append(any(not torch.equal(before[name], weights) for name, weights in weights_of(trainer).items()))
    assert moved == [False, True]


# --- knapsack --------------------------------------------------------------------------------------------------------


def test_knapsack_draws_mastered_samples_less_often(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, by_thirds, rows=12, method="knapsack", num_train_epochs=2)
    trainer.train()
    tallies = read_run(tmp_path).epochs[1].tallies
    parts = thirds(trainer)
    drawn = {n: sum(tallies[i].bare for i in ids if i in tallies) / len(ids) for n, ids in parts.items()}
    assert drawn[2] < 4 <= drawn[1]  # all solved, all failed
    assert sum(tally.bare for tally in tallies.values()) == 48


# --- resume, two ranks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", RIVALS)
def test_killed_and_resumed_a_method_ends_with_the_same_weights(tmp_path: Path, method: str) -> None:
    def trainer_of(name: str) -> Any:
        return make_trainer(
            tmp_path / name,
            by_thirds,
            rows=12,
            method=method,
            num_train_epochs=3,
            save_strategy="steps",
            save_steps=1,
            per_device_train_batch_size=8,
            steps_per_generation=2,  # a checkpoint in the middle of a batch of rollouts
            gradient_accumulation_steps=1,
        )

    whole = trainer_of("whole")
    whole.train()
    killed = trainer_of("killed")
    killed.add_callback(KillAt(9))
    with pytest.raises(KilledError):
        killed.train()
    resumed = trainer_of("killed")
    resumed.train(resume_from_checkpoint=True)
    for name, weights in weights_of(whole).items():
        assert torch.equal(weights_of(resumed)[name], weights), name
    assert resumed.loop.state_dict() == whole.loop.state_dict()
    assert resumed.cost["rollout"].rollouts == whole.cost["rollout"].rollouts


@pytest.mark.parametrize("method", RIVALS)
def test_two_ranks_agree_and_go_on_after_a_kill(tmp_path: Path, method: str) -> None:
    def ranks(*more: str) -> list[dict[str, Any]]:
        launch.run("ddp", SCRIPT, tmp_path, method, *more)
        return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]

    first, second = ranks()
    assert first["world"] == 2
    assert first["loop"] == second["loop"]
    assert first["weights"] == second["weights"]
    assert first["rollouts"] == second["rollouts"] >= 48
    newest = max((tmp_path / "run").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    (newest / "trainer_state.json").unlink()
    for rank in ranks("resume"):
        assert rank["loop"] == first["loop"]
        assert rank["weights"] == first["weights"]
