"""A Ray that stays, for many small runs on this machine (`tiny_run` uses that of ``RAY_ADDRESS``).

python tests/verl/cluster.py FILE       # writes its address, and stays until it is told to end
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny_run import environment

WAIT = 300
"""Seconds until it is there, on a busy machine."""


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """The address of a Ray with room for several runs, in a process of its own; it ends with the block."""
    told = folder / "address"
    log = (folder / "log.txt").open("wb")
    env = environment(folder)
    for own in ("VERL_FILE_LOGGER_PATH", "CPU_SHIM_LOG", "RAY_ADDRESS"):  # of each run
        env.pop(own, None)
    process = subprocess.Popen([sys.executable, __file__, str(told)], env=env, stdout=log, stderr=log)
    try:
        until = time.monotonic() + WAIT
        while not (told.exists() and told.read_text()):
            assert process.poll() is None, (folder / "log.txt").read_text()[-3000:]
            assert time.monotonic() < until, f"no Ray within {WAIT} s"
            time.sleep(0.2)
        yield told.read_text()
    finally:
        process.terminate()
        process.wait(60)


def main(file: str) -> None:
    from ray.cluster_utils import Cluster

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    os.environ.pop("RAY_ADDRESS", None)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 64, "num_gpus": 4, "include_dashboard": False})
    try:
        Path(file).write_text(cluster.address)
        signal.pause()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
