"""Two ranks under torchrun on a machine that is taken away: every rank is told to stop, the step is finished, the
state saved, and the resumed run ends as the undisturbed one."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from p2o.generation.models import resolve_model

kill_resume = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"))


def start(recipe: Path, run_dir: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29583"]
    command += ["--shutdown-timeout", "120"]  # 30 s by default: a step and a checkpoint, on a crowded machine more
    return subprocess.Popen(
        [*command, "-m", "p2o", "train", str(recipe), "--output_dir", str(run_dir), *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    stderr = process.communicate(timeout=300)[1]
    assert process.returncode == 0, stderr[-3000:]
    return stderr


def when_saved(process: subprocess.Popen[str], checkpoint: Path) -> None:
    while not (checkpoint / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)


def test_sigterm_to_torchrun_and_to_every_process(tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    text = kill_resume["RECIPE"].replace("per_device_train_batch_size: 16", "per_device_train_batch_size: 8")
    text = text.replace("eval_strategy: epoch\n", "")
    recipe.write_text(f"{text}model_name_or_path: {resolve_model('builtin:sandbox')}\nnum_train_epochs: 2\n")
    whole = tmp_path / "undisturbed"
    finish(start(recipe, whole))

    run_dir = tmp_path / "run"
    process = start(recipe, run_dir)
    when_saved(process, run_dir / "checkpoint-1")
    process.send_signal(signal.SIGTERM)  # as a container is stopped: torchrun alone is told, and tells its workers
    said = process.communicate(timeout=300)[1]
    assert said.count("p2o: training stopped") == 2, said[-3000:]
    step = int(said.partition("training stopped at step ")[2].partition(":")[0])
    assert (run_dir / f"checkpoint-{step}" / "trainer_state.json").exists()
    assert "to continue, start the same processes again with --resume" in said

    process = start(recipe, run_dir, "--resume")
    when_saved(process, run_dir / f"checkpoint-{step + 2}")
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in everyone:  # as systemd stops a unit: all are told, and torchrun tells its workers again
        one.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=300)[1]
    assert said.count("p2o: training stopped") == 2, said[-3000:]

    finish(start(recipe, run_dir, "--resume"))
    fingerprint = kill_resume["fingerprint"]
    assert kill_resume["differences"]({"found": fingerprint(run_dir)}, fingerprint(whole)) == []
    assert json.loads((whole / "p2o/epoch-000.json").read_text())["summary"]["templated_next"] > 0
