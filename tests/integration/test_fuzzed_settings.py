"""A wrong value for any key ends in one sentence and exit code 2, or works; never in a traceback. (All keys are trained
with by ``python tests/support/fuzz_settings.py`` in an empty folder.)"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "support" / "fuzz_settings.py"


def test_no_value_of_any_key_gives_a_traceback(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--train-every", "12"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r for r in results if r["bad"]] == []
    assert len({r["key"] for r in results}) > 200
    assert sum(r["trained"] for r in results) > 10
    assert sum(r["code"] == 2 for r in results) > 500
