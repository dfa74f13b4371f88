"""p2o compare on a tiny recipe: all kinds of arms, a kill, a failing arm."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from p2o.cli.main import main

TINY = """
base: quickstart
max_train_samples: 16
num_train_epochs: 2
num_generations: 4
per_device_train_batch_size: 16
hard_min_count: 2
dev_size: 6
evolve_budget: 60
evolve_max_iterations: 2
max_completion_length: 16
ood: {dev: builtin:sandbox/dev}
arms: {broken: {learning_rate: -1.0}}
"""


HINT = '''
from p2o.core.methods import Method

class Hint(Method):
    """Puts the hint that the test gives in front of every other rollout."""

    def prompts(self, sample_id):
        return ["Carry the ones.", ""] * (self.group_size // 2)
'''


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def trained_arms(out):
    return {a["name"]: a for a in json.loads((out / "compare.json").read_text())["arms"]}


def test_arms_of_all_kinds_are_compared_and_finished_runs_are_kept(recipe, tmp_path):
    out = tmp_path / "out"
    command = ["compare", recipe, "--seeds", "1", "--group", "hard", "--out", str(out), "--jobs", "2"]
    method = tmp_path / "hint.py"
    method.write_text(HINT)
    assert main([*command, "--arms", f"p2o,grpo,grpo_equal,prompt_only,{method}:Hint"]) == 0
    arms = trained_arms(out)
    assert list(arms) == ["p2o", "grpo", "grpo_equal", "prompt_only", "Hint"]
    assert arms["grpo_equal"]["cost"] >= max(arms["p2o"]["cost"], arms["Hint"]["cost"])
    assert min(arms["p2o"]["cost"], arms["Hint"]["cost"]) > arms["grpo"]["cost"]  # the hints are paid for
    assert "the hint that the test gives" in (out / "compare.md").read_text()
    assert set(arms["Hint"]["changes"]) == {"", "easy", "dev"}
    assert arms["prompt_only"]["cost"] > 0
    for arm in arms.values():
        run = arm["runs"][0]
        assert len(run["outcomes"]["test"]) == 200
        assert len(run["outcomes"]["ood_dev"]) == 80
        assert 0 <= arm["ood"]["dev"]["mean"] <= 1
    curve = arms["p2o"]["runs"][0]["curve"]
    assert [cost for cost, _, _ in curve] == sorted(cost for cost, _, _ in curve)
    assert len(curve) >= 3
    assert curve[-1][0] == arms["p2o"]["cost"]
    assert (out / "compare.png").stat().st_size > 5000
    assert "| p2o | 1 |" in (out / "compare.md").read_text()

    times = {path: path.stat().st_mtime_ns for path in out.glob("*/seed-0/p2o/*.json")}
    assert main([*command, "--arms", "grpo,p2o"]) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert list(trained_arms(out)) == ["grpo", "p2o"]
    # Another learning rate is another comparison.
    assert main([*command, "--arms", "grpo,p2o", "--learning_rate", "0.1"]) == 2


def test_an_arm_that_fails_is_named_and_the_others_are_kept(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", recipe, "--seeds", "1", "--arms", "broken,grpo", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "broken, seed 0 failed: learning_rate is -1.0" in said
    assert list(trained_arms(out)) == ["grpo"]


def test_a_killed_comparison_goes_on(recipe, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "p2o", "compare", recipe, "--seeds", "2", "--arms", "grpo", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    first = out / "grpo" / "seed-0" / "p2o" / "complete.json"
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = first.stat().st_mtime_ns
    assert not (out / "compare.json").exists()
    assert subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == 0
    assert first.stat().st_mtime_ns == kept
    assert [run["seed"] for run in trained_arms(out)["grpo"]["runs"]] == [0, 1]
