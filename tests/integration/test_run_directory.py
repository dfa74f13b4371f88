"""A run directory has one writer, is complete when all of it is written, and the commands in messages work."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2o.base.lock import locked
from p2o.base.stopping import StopRequest, signals_stop
from p2o.cli.main import main
from p2o.errors import ConfigError
from p2o.runs.recipe import load_recipe
from p2o.runs.run_directory import read_run
from runs import make_run

ROWS = [{"prompt": f"What is {n} + 7?", "answer": str(n + 7)} for n in range(8)]
RECIPE: dict[str, Any] = {
    "model_name_or_path": "builtin:sandbox", "train": "rows.jsonl", "test": "test.jsonl", "rewards": ["last_number"],
    "num_generations": 4, "per_device_train_batch_size": 16, "use_cpu": True, "bf16": False, "max_steps": 2,
    "gradient_checkpointing": False, "report_to": "none", "reflector": "phrases", "max_completion_length": 4,
    "save_strategy": "steps", "save_steps": 1, "disable_tqdm": True, "method": "grpo",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("test.jsonl").write_text(json.dumps({"prompt": "What is 30 + 4?", "answer": "34"}))
    Path("my recipe.yaml").write_text(yaml.safe_dump(RECIPE))


def train(*words: str) -> int:
    return main(["train", "my recipe.yaml", *words])


def on_hard_data() -> list[str]:
    """Writes samples that the policy fails, and gives the settings for an evolution on them."""
    hard = [{"prompt": f"What is {300 + n} + 867?", "answer": str(n + 1167)} for n in range(8)]
    Path("hard.jsonl").write_text("".join(json.dumps(row) + "\n" for row in hard))
    settings = {"train": "hard.jsonl", "method": "p2o", "hard_min_count": "4", "dev_size": "2", "evolve_budget": "8"}
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("p2o: ")]
    return line


def test_a_second_process_is_refused_and_harms_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "p2o", "train", "my recipe.yaml", "--output_dir", "run", "--max_steps", "500"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not Path("run/checkpoint-1/p2o_manifest.json").exists():
            assert first.poll() is None
            time.sleep(0.05)
        for command in (["train"], ["evolve"]):
            assert main([*command, "my recipe.yaml", "--output_dir", "run"]) == 2
            line = said(capsys)
            assert "another process writes to run; wait for it or stop it" in line
            assert f"begun by process {first.pid} on " in line
        assert train("--output_dir", "run", "--if_exists", "new", "--max_steps", "1") == 0
        assert Path("run-2/p2o/complete.json").exists()
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    # Killed, it keeps nobody out.
    step = max(int(p.name.rpartition("-")[2]) for p in Path("run").glob("checkpoint-*"))
    assert train("--output_dir", "run", "--max_steps", str(step + 1)) == 0


def test_a_lock_is_free_when_its_holder_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    said = rf"taken \(begun by process {os.getpid()} on "
    with locked(file, "taken"), pytest.raises(ConfigError, match=said), locked(file, "taken"):
        pass
    with locked(file, "taken"):
        pass


@pytest.mark.parametrize("place", ["p2o.runs.export.model_card", "p2o.analysis.ending.write_report"])
def test_a_run_is_complete_when_all_of_it_is_written(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(place, killed)
        with pytest.raises(KilledError):
            train("--output_dir", "run")
    assert read_run(Path("run")).result["after"]
    assert not read_run(Path("run")).complete
    assert train("--output_dir", "run") == 0
    run = read_run(Path("run"))
    assert run.complete
    assert (run.path / "README.md").exists()
    assert (run.path / "report.html").exists()
    assert run.result["before"]["test_bare_success"] is not None
    capsys.readouterr()
    assert train("--output_dir", "run") == 2
    assert "the run in run is complete" in said(capsys)


def test_the_command_that_continues_a_run_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("score.py").write_text(
        "import os\n"
        "def score(completions, **kwargs):\n"
        "    if os.path.exists('fail') and os.path.exists('a run/checkpoint-1/p2o_manifest.json'):\n"
        "        raise OSError('no')\n"
        "    return [float(len(c[0]['content'])) for c in completions]\n"
    )
    Path("fail").touch()
    words = ["--rewards", "score.py:score", "--output_dir", "a run", "--learning_rate", "1e-4", "--if_exists=new"]
    assert train(*words) == 2
    line = said(capsys)
    command = shlex.split(line.partition("; to continue: ")[2])
    assert command == ["p2o", "train", "my recipe.yaml", "--rewards", "score.py:score", "--learning_rate", "1e-4",
                       "--output_dir", "a run", "--resume"]  # fmt: skip
    Path("fail").unlink()
    assert main(command[1:]) == 0
    assert "resumed from a run/checkpoint-1" in capsys.readouterr().out


def test_a_checkpoint_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--output_dir", "run") == 0
    capsys.readouterr()
    assert train("--output_dir", "run", "--resume", "--resume_from_checkpoint", "run/checkpoint-1") == 0
    assert "resumed from run/checkpoint-1" in capsys.readouterr().out
    damaged = Path("run/checkpoint-2/model.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert train("--output_dir", "run", "--resume") == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "! run/checkpoint-2 cannot be continued from: model.safetensors has" in out
    assert "resumed from run/checkpoint-1" in out
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for words, why in [
        (["--resume_from_checkpoint", "run/checkpoint-2"], "run/checkpoint-2 cannot be continued from"),
        (["--resume_from_checkpoint", "run/checkpoint-9"], "run/checkpoint-9 cannot be continued from"),
        (["--resume_from_checkpoint", "elsewhere/checkpoint-1"], "which is not in run; set output_dir to its folder"),
    ]:
        assert train("--output_dir", "run", "--resume", *words) == 2
        assert why in said(capsys)


def test_an_evolution_and_a_training_do_not_share_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--output_dir", "run", "--max_steps", "1") == 0
    assert main(["evolve", "my recipe.yaml", "--output_dir", "run"]) == 2
    assert "run holds a training run" in said(capsys)
    assert main(["evolve", "my recipe.yaml", "--output_dir", "templates", *on_hard_data()]) == 0
    assert train("--output_dir", "templates") == 2
    assert "templates holds the templates of p2o evolve" in said(capsys)


def test_epochs_are_read_in_order_and_set_aside_evolutions_left_out(tmp_path: Path) -> None:
    path = make_run(tmp_path / "made")
    own = path / "p2o"
    for number in (999, 1000):
        text = (own / "epoch-001.json").read_text().replace('"epoch": 1', f'"epoch": {number}')
        (own / f"epoch-{number}.json").write_text(text)
    (own / "evolution-001").rename(own / "evolution-001-old-1")
    run = read_run(path)
    assert [epoch.number for epoch in run.epochs] == [0, 1, 999, 1000]
    assert run.evolutions == {}


STOPPING = """
import sys, threading, time
from p2o.base.stopping import StopRequest, signals_stop
request = StopRequest()
threading.Thread(target=time.sleep, args=(60,)).start()  # not a daemon: a plain exit would wait for it
with signals_stop(request):
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "LOCAL_RANK"}
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.send_signal(number)  # a copy
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(number)
    started = time.monotonic()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert time.monotonic() - started < 2
    assert "finished and saved first; sent again after 1 s or more, it ends the process at once" in said


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals_stop(StopRequest()):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_secret_is_written_or_shown(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    url = "http://user:hunter2pass@127.0.0.1:9/v1?api-key=hunter2key"
    words = [
        *on_hard_data(), "--max_steps", "-1", "--num_train_epochs", "2", "--output_dir", "run", "--hub_token",
        "hunter2token", "--reflector", "openai", "--reflector_model", "m", "--reflector_retries", "0",
        "--reflector_base_url", url,
    ]  # fmt: skip
    assert train(*words) == 0  # the reflector is down: the run continues as GRPO
    assert list(Path("run").glob("p2o/evolution-*"))
    command = ["compare", "my recipe.yaml", "--arms", "grpo", "--seeds", "1", "--out", "compared", "--max_steps", "1"]
    assert main([*command, "--reflector_base_url", url, "--hub_token", "hunter2token"]) == 0
    shown = capfd.readouterr()
    assert "hunter2" not in shown.out + shown.err
    assert "http://***@127.0.0.1:9/v1?api-key=***" in Path("run/config.yaml").read_text()
    for path in [*Path("run").rglob("*"), *Path("compared").rglob("*")]:
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path


def test_a_terminal_that_is_not_utf_8(tmp_path: Path) -> None:
    recipe = {**RECIPE, "output_dir": "é→", "system_prompt": "é→", "max_steps": 1}
    Path("é→.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for words in (
        ["train", "é→.yaml", "--dry-run"],
        ["train", "é→.yaml"],
        ["report", "é→"],
        ["train", "é→.yaml", "--é", "1"],
        ["eval", "builtin:sandbox", "é→.yaml"],
        ["--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "p2o", *words], capture_output=True, env=environment, check=False, timeout=300
        )
        assert done.returncode in (0, 2), done.stderr.decode("ascii")
        assert b"Traceback" not in done.stderr + done.stdout
    dry = subprocess.run([sys.executable, "-m", "p2o", "train", "é→.yaml", "--dry-run"], capture_output=True,
                         env=environment, check=True)  # fmt: skip
    Path("again.yaml").write_bytes(dry.stdout)
    assert load_recipe("again.yaml").task.system_prompt == "é→"
