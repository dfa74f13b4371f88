"""What a run on stock verl shows and leaves behind: log, evaluations, budget, costs, result and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import HERE, metrics, run, start

from p2o.runs.run_directory import Run
from p2o.verl.watched import without_keys

pytestmark = pytest.mark.usefixtures("shared_ray")

SAMPLES, GROUP = 16, 6


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of one step, ended by its budget in the second one, evaluated before and after."""
    out = tmp_path_factory.mktemp("ended")
    changes = [
        "data.train_batch_size=16", "actor_rollout_ref.actor.ppo_mini_batch_size=16", "trainer.save_freq=3",
        "trainer.val_before_train=True", "trainer.test_freq=3", "+p2o.evolve_temperature=0.7",
        f"+p2o.max_rollouts={SAMPLES * GROUP + 1}", "++p2o.evolve_budget=60",
    ]  # fmt: skip
    run(out, changes)
    return out


def asked(out: Path, temperature: float) -> list[dict[str, Any]]:
    """What the rollout server was asked at a temperature."""
    lines = [json.loads(line) for line in (out / "server.jsonl").read_text().splitlines()]
    return [line for line in lines if line["temperature"] == temperature]


def read(ended: Path) -> Run:
    return Run(ended / "checkpoints")


def test_the_budget_ends_the_run_with_a_checkpoint(ended: Path) -> None:
    assert ["actor/grad_norm" in row for row in metrics(ended)] == [False, True, True, False], "validations, steps"
    assert (ended / "checkpoints/global_step_2/p2o_state.json").exists()
    assert [epoch.number for epoch in read(ended).epochs] == [0, 1]
    assert read(ended).complete


def test_evolutions_are_sampled_at_their_temperature(ended: Path) -> None:
    assert len(asked(ended, 0.7)) == read(ended).cost["evolve"]["rollouts"] > 0
    assert len(asked(ended, 1)) == read(ended).cost["rollout"]["rollouts"] == 2 * SAMPLES * GROUP


def test_evaluations_are_counted_and_kept_sample_by_sample(ended: Path) -> None:
    greedy = asked(ended, 0)
    cost, result = read(ended).cost, read(ended).result
    assert cost["evaluate"]["rollouts"] == len(greedy) == 2 * SAMPLES
    assert cost["evaluate"]["generated_tokens"] == sum(line["generated"] for line in greedy)
    assert cost["evaluate"]["prompt_tokens"] == sum(len(line["prompt_ids"]) for line in greedy)
    for when in ("before", "after"):
        outcomes = result["outcomes_before" if when == "before" else "outcomes"]["eval"]
        assert len(outcomes) == SAMPLES
        assert result[when]["eval_bare_success"] == pytest.approx(sum(outcomes.values()) / SAMPLES)
    assert [step for step, _ in read(ended).logged("eval_bare_success")] == [0, 2]


def test_every_phase_has_its_cost_and_its_seconds(ended: Path) -> None:
    cost = read(ended).cost
    for phase in ("rollout", "ratio", "train", "evolve", "evaluate"):
        assert cost[phase]["cost"] > 0, phase
        assert cost[phase]["seconds"] > 0, phase
    assert cost["training_rollouts"] == cost["rollout"]["rollouts"] + cost["evolve"]["rollouts"]


def test_the_log_has_figures_by_the_names_of_the_report(ended: Path) -> None:
    steps = [row for row in read(ended).log if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2]
    assert [row["epoch"] for row in steps] == [1, 2]
    assert all(row["completions/mean_length"] > 0 and "reward" in row and "p2o/no_spread" in row for row in steps)


def test_rollouts_and_ratios_are_kept_to_be_read(ended: Path) -> None:
    first, second = (epoch.record for epoch in read(ended).epochs)
    assert len(first["samples"]) >= 12
    assert not first["ratio_counts"]
    assert sum(map(sum, second["ratio_counts"].values())) > 0
    assert any(row[0] is not None for sample in second["samples"].values() for row in sample["rollouts"])


def test_the_terminal_has_epochs_and_the_end(ended: Path) -> None:
    log = (ended / "log.txt").read_text()
    for text in (
        "step 0: evaluation data, bare", "-- epoch 1 of 3", "no spread of rewards:", "-- epoch 2 of 3",
        "one sample of this epoch in full", "bare success on held-out data", "the report is in",
    ):  # fmt: skip
        assert text in log, text
    assert "could not be written" not in log


def test_the_report_has_the_whole_run(ended: Path) -> None:
    page = (ended / "checkpoints/report.html").read_text()
    for text in ("Bare success on held-out data", "Cost by phase", "Ratios", "Templates", "default_local_dir"):
        assert text in page, text
    assert read(ended).of_verl
    assert read(ended).settings["hard_min_count"] == 4


def test_a_resumed_run_goes_on_with_its_log(ended: Path) -> None:
    """The last test: it changes the run's folder."""
    changes = [
        "data.train_batch_size=16", "actor_rollout_ref.actor.ppo_mini_batch_size=16", "trainer.save_freq=3",
        "++p2o.evolve_budget=60",
    ]  # fmt: skip
    run(ended, changes)
    assert [row["step"] for row in read(ended).log if "loss" in row] == [1, 2, 3]
    assert [epoch.number for epoch in read(ended).epochs] == [0, 1, 2]
    assert len(json.loads((ended / "checkpoints/p2o/cost.json").read_text())) > 0
    assert read(ended).cost["rollout"]["rollouts"] == 3 * SAMPLES * GROUP
    assert not read(ended).result, "it was not evaluated at its end"


def test_a_method_with_a_kl_term_is_refused_at_the_start(tmp_path: Path) -> None:
    assert start(tmp_path, [f"+p2o.method={HERE}/user_methods.py:WithKl"]).wait() != 0
    assert "gives a Credit with 'kl'" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_configuration_is_kept_without_keys() -> None:
    given = {"api_key": "abc", "model": {"path": "m", "hf_token": "t"}, "urls": ["http://user:password@host/v1"]}
    kept = without_keys(given)
    assert kept["api_key"] == kept["model"]["hf_token"] == "***"
    assert kept["model"]["path"] == "m"
    assert "password" not in kept["urls"][0]
