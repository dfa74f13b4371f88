"""Killed anywhere and resumed, a run ends as the undisturbed one: weights, optimizer, ledgers, templates, costs, log.

The runs are those of `benchmarks/kill_resume.py`, which kills at many random points besides.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

POINTS = {
    "mid epoch, with rollouts that are still to be trained": "loss:1",
    "between an epoch's last step and the evolution": "epoch:1",
    "inside the evolution, twice": "rollout:1+reply:1",
    "while a checkpoint is written": "save:2",
    "while its last file is written": "torn:4",
    "right after a checkpoint": "saved:5",
    "before the evaluation of an epoch": "eval:0",
    "SIGTERM in a step": "TERM@loss:2",
    "Ctrl-C inside the evolution": "INT@reply:0",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("resume") / "report.json"
    script = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"
    command = [sys.executable, str(script), "--epochs", "2", "--out", str(out), "--work", str(out.parent / "runs")]
    done = subprocess.run([*command, "--kill", *POINTS.values()], capture_output=True, text=True)
    assert out.exists(), done.stderr[-3000:]
    return json.loads(out.read_text())


def run(report: dict[str, Any], point: str) -> dict[str, Any]:
    return next(r for r in report["each"] if r["kill"] == point)


def test_the_same_recipe_twice_is_the_same_run(report: dict[str, Any]) -> None:
    assert report["trained_twice_different"] == []
    assert report["files_compared"] >= 12
    assert report["templated_samples"] > 0


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_resumed_is_undisturbed(report: dict[str, Any], point: str) -> None:
    found = run(report, point)
    stopped = {"TERM": "exit 143", "INT": "exit 130"}.get(point.split("@")[0], "killed")
    assert found["seen"] == [stopped] * (point.count("+") + 1) + ["exit 0"]
    assert found["different"] == []


def test_it_goes_on_from_the_newest_whole_checkpoint(report: dict[str, Any]) -> None:
    for point, checkpoints in {
        "loss:1": ["checkpoint-1"],
        "epoch:1": ["checkpoint-4"],
        "rollout:1+reply:1": ["checkpoint-4", "checkpoint-4"],
        "save:2": ["checkpoint-2"],
        "torn:4": ["checkpoint-4"],
        "saved:5": ["checkpoint-6"],
        "eval:0": ["checkpoint-4"],
        "TERM@loss:2": ["checkpoint-3"],
        "INT@reply:0": ["checkpoint-4"],
    }.items():
        assert run(report, point)["resumed_from"] == checkpoints, point


def test_a_signal_lets_the_step_finish_and_says_where_the_state_is(report: dict[str, Any]) -> None:
    term, interrupt = run(report, "TERM@loss:2"), run(report, "INT@reply:0")
    assert "training stopped at step 3: SIGTERM was received; its state is in" in term["said"][0]
    assert "training stopped at step 4: Ctrl-C was received; its state is in" in interrupt["said"][0]
    for line in (*term["said"], *interrupt["said"]):
        command = shlex.split(line.partition("to continue: ")[2])
        assert command[:2] == ["p2o", "train"]
        assert command[-1] == "--resume"
