"""A short run of the recipe with a calculator: templates unlock the calls, and the run's files show the turns."""

import json
import re
from pathlib import Path

from p2o.cli.main import main
from p2o.generation.calculator import calc
from p2o.runs.run_directory import read_run

REFLECTOR = """
def reflector(prompt: str) -> str:
    return "```Use the calculator. One operation at a time. Go on with the result. State the last result.```"
"""


def test_a_short_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(REFLECTOR)
    out = tmp_path / "out"
    words = {
        "output_dir": out, "max_train_samples": 16, "num_train_epochs": 2, "per_device_train_batch_size": 48,
        "hard_min_count": 2, "dev_size": 4, "evolve_budget": 40, "evolve_max_iterations": 1, "bare_slots": 1,
        "test": "null", "eval": "null", "eval_strategy": "no", "eval_on_start": "false",
        "reflector": f"{tmp_path / 'own.py'}:reflector",
    }  # fmt: skip
    assert main(["train", "quickstart-tools", *(word for k, v in words.items() for word in (f"--{k}", str(v)))]) == 0
    run = read_run(out)
    first, second = run.epochs
    assert first.summary["bare_success"] == 0.0
    assert second.summary["templated_success"] > 0.5
    assert next(calls for _, calls in run.logged("p2o/tool_calls/templated")) > 1.5
    assert all(calls < 0.5 for _, calls in run.logged("p2o/tool_calls/bare"))
    rollouts = [r for sample in second.record["samples"].values() for r in sample["rollouts"]]
    solved = next(r for r in rollouts if r[3])
    assert [kind for kind, _, _ in solved[4]] == ["call", "result", "call", "result", "said"]
    assert solved[4][1][2] == calc(json.loads(solved[4][0][2])["sum"])
    assert all(len(r) == 4 for r in rollouts if r[0] is None and not r[3] and "[call" not in r[1])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Tool calls of a rollout" in page
    assert re.search(r'"call", ?"calc"', page)
