"""In place of the second process of ``evolve_beside``: it does what the task's first template says.

The product starts ``python -m PROGRAM FOLDER``, and writes one line to its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

SAYS = "BESIDE_TEST"


def main() -> int:
    """As the environment says (or the task): slow, failing, crash, silent, or as it is."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    how = os.environ.get(SAYS) or next(iter(task["pool"]), "")
    if how == "slow":
        return the_real_one_slowly()
    if how == "failing":
        print("some output\np2o: the data has moved; put it back\nmore output", file=sys.stderr)
        return 2
    if how == "crash":
        os.abort()
    words = json.loads(sys.stdin.readline())
    (folder / "seen.json").write_text(json.dumps({"words": words, "environment": dict(os.environ)}))
    if how == "silent":
        time.sleep(60)
    done = json.dumps(done_of(folder))
    (folder / "done.tmp").write_text(done)
    (folder / "done.tmp").rename(folder / "done.json")
    return 0


def the_real_one_slowly() -> int:
    from p2o.cli import beside

    watch = beside.end_with_the_run

    def watch_and_sleep(pipe: TextIO) -> None:
        watch(pipe)
        time.sleep(4)

    beside.end_with_the_run = watch_and_sleep
    return beside.explained(beside.main)


def done_of(folder: Path) -> dict:
    from p2o.core.evolve.result import Candidate, Evolution, EvolveCost

    cost = EvolveCost(metric_calls=7, prompt_tokens=70, completion_tokens=30)
    seed = Candidate(0, "Think.", None, 0, "seed", dev_mean=1.0)
    evolution = Evolution(
        [seed], ["Think."], [None], [[1.0]], [[True]], ["s0"], ["s1"], 9,
        cost, [1.0], "solved",
    )  # fmt: skip
    return {"schema": 1, "evolution": evolution.to_dict(), "seconds": {"evolve": 2.0, "reflect": 1.0}}


if __name__ == "__main__":
    raise SystemExit(main())
