"""`p2o train` in a file: short plain lines, no warning of a library. And at a terminal, as an emulator shows it."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [
    sys.executable, "-m", "p2o", "train", "quickstart", "--max_train_samples", "32", "--num_train_epochs", "2",
    "--hard_min_count", "8", "--dev_size", "8", "--evolve_budget", "60", "--evolve_max_iterations", "1",
    "--test_draws", "2", "--max_completion_length", "24",
    "--per_device_train_batch_size", "96", "--logging_steps", "1",
]  # fmt: skip


def test_a_run_in_a_file(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    steps = [line for line in lines if re.match(r" +\d+/4 ", line)]
    assert [line.split()[0] for line in steps] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(len(line) < 80 for line in steps)
    assert not any(sign in done.stdout for sign in ("'", "{", "\x1b", "\r"))
    for words in (
        "-- epoch 2 of 2", "evaluation data, bare: ", "one sample of this epoch in full", "bare, failed: ",
        "test, easy, pass@2", "\nnext:\n",
    ):  # fmt: skip
        assert words in done.stdout, words
    commands = [line.strip() for line in lines if line.startswith("    p2o ")]
    assert len(commands) == 3
    rows = [json.loads(line) for line in (tmp_path / "runs/quickstart/p2o/metrics.jsonl").read_text().splitlines()]
    assert sum("loss" in row for row in rows) == 4  # all figures are there


LOGS = """
import logging, sys, time, warnings
early = logging.StreamHandler()  # holds the stream of before, as transformers' handler does
logging.getLogger("library").addHandler(early)
logging.getLogger("library").propagate = False
from p2o.base.live import Bar
for n in range(2):
    with Bar(3, "working") as bar:
        for m in range(3):
            time.sleep(0.3)
            bar.advance()
            logging.getLogger("library").warning("warned %d.%d", n, m)
            print("printed", file=sys.stderr)
    logging.getLogger("library").warning("between")
assert early.stream is sys.stderr
"""


def test_what_a_library_logs_leaves_no_bar_on_the_screen(tmp_path: Path) -> None:
    pytest.importorskip("pyte")
    script = Path(__file__).parents[2] / "benchmarks" / "terminal_text.py"
    (tmp_path / "logs.py").write_text(LOGS)
    _, lines = runpy.run_path(str(script))["python_at"](80, tmp_path, ["logs.py"])
    first, second = ([line for m in range(3) for line in (f"warned {n}.{m}", "printed")] for n in range(2))
    assert lines == [*first, "between", *second, "between"]


def test_a_run_at_a_terminal(tmp_path: Path) -> None:
    pytest.importorskip("pyte")
    script = Path(__file__).parents[2] / "benchmarks" / "terminal_text.py"
    seen, lines = runpy.run_path(str(script))["run_at"](80, tmp_path, COMMAND[3:])
    evolution = next(iter(seen.values()))
    assert evolution[-3].startswith("best so far (")
    assert evolution[-1].startswith("evolution before epoch 2 ━")
    # What was redrawn, and the bars of the libraries, are gone; what is printed once stands there once.
    assert lines[0].startswith("p2o train quickstart → ")
    assert not any("━" in line or "%|" in line or line.startswith("best so far") for line in lines)
    assert sum(line.startswith("epoch 2 of 2 ───") for line in lines) == 1
    assert any(line.startswith(" test, easy, pass@2 ") for line in lines)
