"""What P²O adds to a checkpoint of verl; needs no verl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2o.data.fingerprint import fingerprint
from p2o.errors import ConfigError, StateError
from p2o.verl.state import STATE_FILE, RunState, claim
from p2o.verl.training_data import sample_of


def data(*questions: str, answer: str = "5") -> dict[str, Any]:
    rows = [
        {"raw_prompt": [{"role": "user", "content": text}], "reward_model": {"ground_truth": answer}}
        for text in questions
    ]
    return fingerprint([sample_of(row) for row in rows])


def test_a_row_brings_its_solution() -> None:
    row = {"raw_prompt": [{"role": "user", "content": "2+3?"}], "reward_model": {"ground_truth": "5"}}
    told = {**row, "solution": "It is 5.", "solution_steps": ("Add.",), "other": 1}
    assert sample_of(told).columns == {"solution": "It is 5.", "solution_steps": ["Add."]}
    assert sample_of(told).id == sample_of(row).id


def test_a_state_is_read_as_it_was_saved(tmp_path: Path) -> None:
    state = RunState({"next_epoch": 2}, {"evolve": {"rollouts": 7}}, data("2+3?", "1+4?"))
    state.save(tmp_path)
    assert RunState.load(tmp_path, data("2+3?", "1+4?")) == state


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (data("2+3?"), "2 rows and has 1"),
        (data("1+4?", "2+3?"), "order"),
        (data("2+3?", "1+4?", answer="6"), "answers differ"),
        (data("2+3?", "0+5?"), "prompts"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, now: dict[str, Any], says: str) -> None:
    RunState({}, {}, data("2+3?", "1+4?")).save(tmp_path)
    with pytest.raises(StateError, match=says):
        RunState.load(tmp_path, now)


def test_a_checkpoint_of_another_trainer_or_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="another trainer"):
        RunState.load(tmp_path, data("2+3?"))
    RunState({}, {}, data("2+3?")).save(tmp_path)
    content = json.loads((tmp_path / STATE_FILE).read_text())
    del content["data"]
    (tmp_path / STATE_FILE).write_text(json.dumps(content))
    with pytest.raises(StateError, match="another version"):
        RunState.load(tmp_path, data("2+3?"))


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with claim(tmp_path / "run"):
        with pytest.raises(ConfigError, match="another run trains in"):
            claim(tmp_path / "run")
        claim(tmp_path / "other").close()
    claim(tmp_path / "run").close()
