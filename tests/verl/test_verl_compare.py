"""A comparison on stock verl: arms at equal cost, paired on the validation data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_compare import Size, compare

pytestmark = pytest.mark.usefixtures("shared_ray")


def test_arms_are_trained_by_verl_and_paired_at_equal_cost(tmp_path: Path) -> None:
    words = ["--seeds", "1", "--arms", "grpo_equal,p2o_solved", "--group", "hard"]
    assert compare(tmp_path, words, Size(epochs=2, hard=8, batch=16)) == 0
    found = json.loads((tmp_path / "compare" / "compare.json").read_text())
    arms = {arm["name"]: arm for arm in found["arms"]}
    assert arms["grpo_equal"]["cost"] >= arms["p2o_solved"]["cost"] > 0
    assert set(arms["p2o_solved"]["groups"]) == {"easy"}
    for arm in arms.values():
        (run,) = arm["runs"]
        assert len(run["outcomes"]["test"]) == len(run["outcomes_before"]["test"]) == 48
        assert arm["difference"] is None or len(arm["difference"]["interval"]) == 2
    assert (tmp_path / "compare" / "p2o_solved" / "seed-0" / "report.html").exists()
