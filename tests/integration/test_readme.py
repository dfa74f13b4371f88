"""README.md does what it says: its Python runs as it stands and learns, and its table is that of the results."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TRAIN = "trainer.train()\n"


def test_the_python_is_short() -> None:
    assert len(CODE) == 1
    assert len([line for line in CODE[0].splitlines() if line]) <= 15


def test_the_python_runs_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    set_up, after = CODE[0].split(TRAIN)
    names: dict[str, Any] = {}
    exec(set_up, names)
    before = names["trainer"].evaluate()["eval_bare_success"]
    started = time.process_time()
    exec(TRAIN + after, names)
    assert float(capsys.readouterr().out.split()[-1]) - before >= 0.5
    assert time.process_time() - started < 240  # two minutes on two cores


def test_the_table_is_that_of_the_results() -> None:
    arms = json.loads((ROOT / "benchmarks" / "results" / "compare-quickstart.json").read_text())["arms"]
    by_name = {arm["name"]: arm for arm in arms}
    table = README.replace("*", "")  # bold figures
    rows = re.findall(r"^\| [^|]+ \| `(\w+)` \| ([\d.]+) % \[([\d.]+), ([\d.]+)\] \| (\d+) % \|$", table, re.M)
    assert [name for name, *_ in rows] == ["grpo_equal", "p2o", "p2o_steady"]
    for name, mean, low, high, easy in rows:
        success = by_name[name]["success"]
        assert [float(mean), float(low), float(high)] == pytest.approx(
            [100 * success["mean"], *(100 * bound for bound in success["interval"])], abs=0.051
        )
        assert float(easy) == pytest.approx(100 * by_name[name]["groups"]["easy"]["mean"], abs=0.51)
