"""Killed with SIGKILL anywhere, an evolution that is called again ends as an undisturbed one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from p2o.base.journal import Journal
from p2o.core.evolve import Evolution, EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.evolve.config import Search
from p2o.core.samples import Rollout, Sample
from p2o.errors import StateError

SAMPLES = [Sample(f"s{i}", [{"role": "user", "content": f"Riddle number {i}"}]) for i in range(30)]


def work(run_dir: Path, kill_at: str = "", log: list[str] | None = None, search: Search = "minibatch") -> Evolution:
    """The same small evolution; ``kill_at`` is "rollout:N" or "reflect:N", 0 being the first call."""
    counts = {"rollout": 0, "reflect": 0}

    def step(what: str) -> None:
        if kill_at == f"{what}:{counts[what]}":
            os.kill(os.getpid(), signal.SIGKILL)
        counts[what] += 1
        if log is not None:
            log.append(what)

    def rollout(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        step("rollout")
        out = []
        call = repr([(t, s.id) for t, s in pairs]) if search == "race" else ""  # a race may draw a pair twice
        for place, (template, sample) in enumerate(pairs):
            key = f"{call}/{place}" if call else f"{template}/{sample.id}"
            draw = hashlib.sha256(key.encode()).digest()[0] / 256
            solved = draw < 0.15 * template.count("!")
            out.append(Rollout(f"out {draw}", float(solved), solved, "no", 3, 1))
        return out

    def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        step("reflect")
        return [Reply(f"```\n{j.template}! {j.seed % 97}\n```", None, 9, 2) for j in jobs]

    config = EvolveConfig(budget=260, parents=4, fill_proposals=True, seed=5, search=search, draws=3, patience=4)
    return evolve(SAMPLES[10:], SAMPLES[:10], rollout, reflect, config, run_dir)


def killed(run_dir: Path, kill_at: str, search: Search = "minibatch") -> None:
    done = subprocess.run([sys.executable, __file__, str(run_dir), kill_at, search], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Evolution:
    return work(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("kill_at", ["rollout:0", "rollout:2", "rollout:3", "rollout:7", "reflect:1"])
def test_killed_and_resumed(tmp_path: Path, undisturbed: Evolution, kill_at: str) -> None:
    killed(tmp_path, kill_at)
    assert not (tmp_path / "evolution.json").exists()
    stored = len((tmp_path / "rollouts.jsonl").read_text().splitlines())
    log: list[str] = []
    assert work(tmp_path, log=log) == undisturbed
    assert log.count("rollout") == undisturbed.cost.generation_calls - stored
    if kill_at.startswith("rollout"):
        assert stored == int(kill_at.split(":")[1])


@pytest.mark.parametrize("kill_at", ["rollout:2", "rollout:6", "reflect:2"])
def test_a_race_killed_and_resumed(tmp_path: Path, kill_at: str) -> None:
    killed(tmp_path / "killed", kill_at, "race")
    undisturbed = work(tmp_path / "undisturbed", search="race")
    assert undisturbed.cost.generation_calls > 8
    assert work(tmp_path / "killed", search="race") == undisturbed


def test_killed_twice(tmp_path: Path, undisturbed: Evolution) -> None:
    killed(tmp_path, "rollout:1")
    killed(tmp_path, "rollout:4")  # counted in the new process
    assert work(tmp_path) == undisturbed


@pytest.mark.parametrize("name", ["rollouts.jsonl", "replies.jsonl"])
@pytest.mark.parametrize("cut", [1, 30, 700])
def test_a_torn_last_line_is_dropped(tmp_path: Path, undisturbed: Evolution, name: str, cut: int) -> None:
    work(tmp_path)
    (tmp_path / "evolution.json").unlink()
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-cut])
    assert work(tmp_path) == undisturbed
    assert (tmp_path / name).read_bytes() == data


def test_stored_replies_are_heard_again(tmp_path: Path, undisturbed: Evolution) -> None:
    work(tmp_path)
    (tmp_path / "evolution.json").unlink()
    log: list[str] = []
    assert work(tmp_path, log=log) == undisturbed
    assert log == []


def test_damaged_and_foreign_journals(tmp_path: Path) -> None:
    work(tmp_path)
    (tmp_path / "evolution.json").unlink()
    lines = (tmp_path / "rollouts.jsonl").read_text().splitlines()
    (tmp_path / "rollouts.jsonl").write_text("\n".join([lines[1], *lines[1:]]) + "\n")
    with pytest.raises(StateError, match=r"rollouts\.jsonl, line 1 belongs to another evolution"):
        work(tmp_path)
    for damaged in ("{", "[1]", "3", "[" * 100_000, "\udcff"):
        text = damaged + "\n" + "\n".join(lines) + "\n"
        (tmp_path / "rollouts.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(StateError, match=r"rollouts\.jsonl, line 1 is damaged"):
            work(tmp_path)


def test_journal_takes_any_text(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.jsonl")
    event = {"text": "line\u2028 break\r\n \ud800 \x00 ü"}
    journal.append(event)
    assert Journal(tmp_path / "x.jsonl").events == [event]
    assert json.loads((tmp_path / "x.jsonl").read_text()) == event


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2], search="race" if sys.argv[3] == "race" else "minibatch")
