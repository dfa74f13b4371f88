"""What is seen of a run on verl, without Ray: log, evaluations, epochs, end."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from tiny_run import overrides
from verl.trainer.ppo.v1 import PPOTrainerSync

from p2o.core.cost import CostMeter
from p2o.core.loop import JointLoop
from p2o.core.samples import Sample
from p2o.runs.run_directory import Run
from p2o.verl import evaluation
from p2o.verl.batch import jagged, read_tokens
from p2o.verl.settings import VerlSettings
from p2o.verl.watched import WatchedTrainer

IDS = ["a", "b"]
GREEDY = {"a": True, "b": False}
"""Which validation samples are solved."""


def fetched(keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, Any]:
    """What the transfer queue holds of a validation."""
    scores = [torch.tensor([0.0, 0.0, float(GREEDY[key])]) for key in keys]
    columns = {
        "prompts": jagged([torch.tensor([5, n]) for n in range(len(keys))]),
        "response_mask": jagged([torch.tensor([1, 0, 1]) for _ in keys]),
        "rm_scores": jagged(scores),
        "extra_fields": [{} for _ in keys],
        "reward_model": [{"ground_truth": key} for key in keys],
        "data_source": ["sums" for _ in keys],
    }
    return {name: columns[name] for name in select_fields}


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A trainer as it is when verl has set it up, with two samples and one step an epoch."""
    monkeypatch.setattr(evaluation.tq, "kv_batch_get", fetched)
    batch = SimpleNamespace(keys=IDS, partition_id="val")
    monkeypatch.setattr(
        PPOTrainerSync,
        "_validate",
        lambda self: {"val": float(len(self.replay_buffer.sample(partition_id="val")[0].keys))},
    )
    made = object.__new__(WatchedTrainer)
    with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        made.config = compose("ppo_trainer", [*overrides(tmp_path), "trainer.test_freq=1"])
    made.settings = VerlSettings(num_generations=2, hard_min_count=2, reflector="phrases")
    made.run_dir, made.cost = tmp_path / "run", CostMeter()
    samples = {i: Sample(i, [{"role": "user", "content": f"{i}?"}], i) for i in IDS}
    made.loop = JointLoop(made.settings, samples, made.run_dir / "p2o", 2, 42)
    made.global_steps, made.steps_per_epoch, made.total_training_steps = 0, 1, 3
    made.replay_buffer = SimpleNamespace(sample=lambda **asked: (batch, {}))
    made.logger = SimpleNamespace(log=lambda **row: None)
    made.prepare_watch()
    return made


def train(trainer: Any, steps: int) -> None:
    """Steps without verl: rewards and figures."""
    for step in range(1, steps + 1):
        trainer.global_steps = step
        for sample_id in IDS:
            trainer.loop.record(sample_id, [0.0, float(sample_id == "a")], [False, False], [0.0, 1.0])
        trainer._log({"loss": 0.1, "reward": 0.5, "p2o/no_spread": 0.5})
        if step < steps:
            trainer.tell_epoch(trainer.loop.close())
            trainer.loop.ledger.clear()
            trainer.loop.next_epoch += 1


def test_a_run_is_logged_evaluated_and_ended(
    trainer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.begin_watch()
    assert trainer._validate() == {"val": 2.0}
    train(trainer, 2)
    monkeypatch.setitem(GREEDY, "b", True)
    trainer._init_dump_executor = trainer._shutdown_dump_executor = lambda: None
    trainer.end_watch(2)
    run = Run(trainer.run_dir)
    assert run.complete
    assert [row["step"] for row in run.log if "loss" in row] == [1, 2]
    assert run.logged("eval_bare_success") == [(0, 0.5), (2, 1.0)]
    assert run.result["before"]["eval_bare_success"] == 0.5
    assert run.result["after"]["eval_bare_success"] == 1.0
    assert sorted(run.result["outcomes"]["eval"].values()) == [True, True]
    assert run.result["outcomes_before"]["eval"].keys() == run.result["outcomes"]["eval"].keys()
    assert run.cost["evaluate"]["rollouts"] == 4
    assert run.cost["evaluate"]["generated_tokens"] == 8
    assert [epoch.number for epoch in run.epochs] == [0, 1]
    assert run.of_verl
    assert run.settings["hard_min_count"] == 2
    assert run.settings["verl"]["data"]["train_batch_size"] == 8
    shown = capsys.readouterr().out
    for text in ("step 0: evaluation data, bare 50.0 %", "epoch 1 of 3", "epoch 2 of 3", "took", "the report is in"):
        assert text in shown, text
    assert "bare success on held-out data (greedy)" in shown
    assert (trainer.run_dir / "report.html").exists()


def test_a_resumed_run_goes_back_to_its_step(trainer: Any) -> None:
    trainer.begin_watch()
    trainer._validate()
    train(trainer, 2)
    trainer.rollout_log.write()
    trainer.global_steps = 1
    trainer.resume_watch()
    assert {row["step"] for row in trainer.rows} == {0, 1}
    trainer.begin_watch()
    assert {row["step"] for row in Run(trainer.run_dir).log} == {0, 1}


def test_the_buffer_is_read_in_an_evaluation_alone(trainer: Any) -> None:
    before = trainer.replay_buffer.sample
    trainer.begin_watch()
    trainer._validate()
    assert trainer.replay_buffer.sample is before


@pytest.mark.parametrize(
    ("mask", "read"), [([1, 1], 10), ([1, 1, 0, 0, 1], 10 + 14), ([1, 0, 1, 0, 1, 0], 10 + 12 + 14), ([], 10)]
)
def test_each_turn_reads_all_before_it(mask: list[int], read: int) -> None:
    assert read_tokens(10, torch.tensor(mask, dtype=torch.int64)) == read
