"""A rank that dies stops the others with one sentence, soon: under torchrun, and where no launcher looks after them
(the other node of a run on two)."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import launch

SCRIPT = Path(__file__).parents[1] / "support" / "dying_rank.py"
SECONDS = 30
"""So long a survivor may take. Gloo notices a closed connection at once; two busy cores need a few seconds to exit."""


def since_death(out):
    return time.time() - float((out / "died").read_text())


@pytest.mark.parametrize(("place", "victim"), [("training", 1), ("reflector", 0)])
def test_torchrun_ends_the_others(tmp_path, place, victim):
    line, environment = launch.command("ddp", SCRIPT, tmp_path, place, victim)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert since_death(tmp_path) < SECONDS
    assert done.returncode == 1
    root = done.stderr[done.stderr.index("Root Cause") :]
    assert f"rank      : {victim}" in root
    assert "SIGKILL" in root


@pytest.mark.parametrize(("place", "victim"), [("training", 0), ("rollouts", 1)])
def test_without_a_launcher_the_other_one_says_what_happened(tmp_path, place, victim):
    port = launch.free_port()
    processes = []
    for rank in (0, 1):
        environment = {
            **os.environ,
            "PYTHONPATH": str(launch.TESTS),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
        }
        line = [sys.executable, str(SCRIPT), str(tmp_path), place, str(victim)]
        processes.append(subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL))
    survivor = processes[1 - victim]
    _, said = survivor.communicate(timeout=200)
    assert since_death(tmp_path) < SECONDS
    assert processes[victim].wait(10) == -9
    assert survivor.returncode == 1
    last = [line for line in said.decode().splitlines() if "PeerError" in line][-1]
    assert "another process of this run ended or did not answer in time" in last
    at = "checkpoint-4" if place != "training" else "start the run again"
    assert last.endswith(at)
