"""Runs of the methods that need solutions on the built-in policy: killed and resumed, on two ranks, what they teach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import launch
from helpers import KillAt, KilledError, hard_rows, make_trainer
from p2o.core.epoch_files import read_epoch

SCRIPT = Path(__file__).parents[1] / "support" / "rival_ranks.py"


def trainer_of(folder: Path, method: str, **changes: Any) -> Any:
    """Eight hard sums, one step an epoch."""
    return make_trainer(folder, rows=8, method=method, per_device_train_batch_size=32, **changes)


def epoch_files(trainer: Any) -> list[dict[str, Any]]:
    return [read_epoch(path) for path in sorted((trainer.run_dir / "p2o").glob("epoch-*.json"))]


HELPED = {"prefix": (0, 4), "sage": (0, 4), "scaf": (3, 1), "luffy": (3, 0), "hdpo": (0, 4), "sdft": (4, 0)}
"""(bare, scaffolded) rollouts of a sample in the second epoch."""


@pytest.mark.parametrize("method", HELPED)
def test_killed_and_resumed_a_run_ends_with_the_same_weights(tmp_path: Path, method: str) -> None:
    changes = {"num_train_epochs": 3, "save_strategy": "epoch"}
    whole = trainer_of(tmp_path / "whole", method, **changes)
    whole.train()
    second = epoch_files(whole)[1]["tallies"].values()
    assert sum((tally.bare, tally.templated) == HELPED[method] for tally in second) >= 6
    killed = trainer_of(tmp_path / "killed", method, **changes)
    killed.add_callback(KillAt(2))
    with pytest.raises(KilledError):
        killed.train()
    resumed = trainer_of(tmp_path / "killed", method, **changes)
    resumed.train(resume_from_checkpoint=True)
    for (name, mine), theirs in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert resumed.loop.state_dict() == whole.loop.state_dict()
    assert epoch_files(resumed) == epoch_files(whole)


@pytest.mark.parametrize("method", ["luffy", "hdpo"])
def test_the_bare_prompt_learns_what_grpo_does_not(tmp_path: Path, method: str) -> None:
    trainer = trainer_of(tmp_path, method, num_train_epochs=12)
    trainer.train()
    assert trainer.evaluate(hard_rows(32, "test"))["eval_bare_success"] > 0.2


@pytest.mark.parametrize("method", ["prefix", "scaf", "luffy", "opsd"])
def test_two_ranks_agree_and_go_on_after_a_kill(tmp_path: Path, method: str) -> None:
    def ranks(*more: str) -> list[dict[str, Any]]:
        launch.run("ddp", SCRIPT, tmp_path, method, *more)
        return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]

    first, second = ranks()
    assert first["world"] == 2
    assert first["loop"] == second["loop"]
    assert first["weights"] == second["weights"]
    newest = max((tmp_path / "run").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    (newest / "trainer_state.json").unlink()
    for rank in ranks("resume"):
        assert rank["loop"] == first["loop"]
        assert rank["weights"] == first["weights"]
