"""Ray with two nodes on this machine: the plug-in is on both, templates reach both; a process that dies is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from tiny_run import HERE, PHRASES, metrics, start

from p2o.verl import texts
from p2o.verl.liveness import ProcessError, Watchman, check_at_each_poll, told_if_a_worker_dies
from p2o.verl.texts import SharedTexts, text_of

PROGRAM = (str(HERE / "two_nodes.py"),)
ONE_EPOCH_A_STEP = [
    "data.train_batch_size=16", "actor_rollout_ref.actor.ppo_mini_batch_size=16", "trainer.save_freq=1",
    "++p2o.evolve_budget=60", "trainer.total_training_steps=2",
]  # fmt: skip


def test_two_nodes_train_what_one_does(tmp_path: Path) -> None:
    assert start(tmp_path, ONE_EPOCH_A_STEP, program=PROGRAM).wait() == 0, (tmp_path / "log.txt").read_text()[-3000:]
    first, second = metrics(tmp_path)
    assert (first["p2o/templated"], first["actor/grad_norm"] > 0) == (0, True)
    assert second["p2o/templated"] > 0
    assert second["p2o/templated_success"] > 0.5
    # Both servers have the newest weights, and both workers the templates.
    assert max(first["training/rollout_probs_diff_max"], second["training/rollout_probs_diff_max"]) < 1e-4
    asked = [json.loads(line) for line in (tmp_path / "server.jsonl").read_text().splitlines()]
    servers = {line["server"] for line in asked}
    assert len(servers) == 2
    tokens_of = {server: [line["prompt_ids"] for line in asked if line["server"] == server] for server in servers}
    from transformers import AutoTokenizer

    from p2o.generation.models import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    for prompts in tokens_of.values():
        assert any(phrase in tokenizer.decode(ids) for ids in prompts for phrase in PHRASES)


@pytest.mark.parametrize(
    ("process", "says"),
    [("AgentLoopWorkerTQ", "a rollout worker of verl died"), ("WorkerDict", "a training worker of verl died")],
)
def test_a_worker_that_is_killed_ends_the_run_with_a_sentence(tmp_path: Path, process: str, says: str) -> None:
    run = start(tmp_path, ["trainer.save_freq=-1", "trainer.total_epochs=50"])
    while "actor/grad_norm" not in ((tmp_path / "metrics.jsonl").read_text() if begun(tmp_path) else ""):
        assert run.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(0.5)
    (found,) = workers_of(run.pid, process)
    os.kill(found, signal.SIGKILL)
    assert run.wait(timeout=120) != 0
    log = (tmp_path / "log.txt").read_text()
    assert says in log
    assert "the same command continues from the newest checkpoint" in log


def begun(out: Path) -> bool:
    return (out / "metrics.jsonl").exists()


def workers_of(run: int, name: str) -> list[int]:
    """Process ids of a run's Ray workers of a kind: descendants of the run's process."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [(int(pid), int(parent), args) for pid, parent, args in (x.split(None, 2) for x in listed.splitlines()[1:])]
    family = {run}
    while grown := {pid for pid, parent, _ in rows if parent in family} - family:
        family |= grown
    return [pid for pid, _, args in rows if pid in family and re.match(f"ray::{name}", args)]


@ray.remote
class Actor:
    """Stands for a process of verl."""

    def known(self, number: int) -> str:
        return text_of(number)


@pytest.fixture(scope="module")
def actors() -> Iterator[list[ray.actor.ActorHandle]]:
    ray.shutdown()  # what another module's tests began
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    try:
        yield [Actor.options(num_cpus=0.1).remote() for _ in range(3)]
    finally:
        ray.shutdown()


def test_texts_are_sent_once_and_known_everywhere(
    actors: list[ray.actor.ActorHandle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_held", ["", "Trial."])
    shared, sent = SharedTexts(actors), []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda new: (sent.append(list(new)), put(new))[1])
    assert shared.numbers_of(["a", "", "b", "a"]) == [1, 0, 2, 1]
    assert shared.numbers_of(["b", "c"]) == [2, 3]
    assert sent == [["a", "b"], ["c"]]
    assert [ray.get(actor.known.remote(3)) for actor in actors] == ["c"] * 3
    assert [text_of(n) for n in range(4)] == ["", "a", "b", "c"]


def test_a_dead_process_is_noticed_at_the_second_look(actors: list[ray.actor.ActorHandle]) -> None:
    looked = []
    buffer = SimpleNamespace(_sync_metadata_from_transfer_queue=lambda: looked.append(1))
    watchman = Watchman({"rollout worker": actors[:1], "server": actors[1:]})
    check_at_each_poll(buffer, watchman.check)

    def look(times: int) -> None:
        for _ in range(times):
            time.sleep(2)  # as verl does
            buffer._sync_metadata_from_transfer_queue()

    look(2)
    assert len(looked) == 2
    ray.kill(actors[1])  # it may have answered before
    with pytest.raises(ProcessError, match="a server of verl died, so the run ends"):
        look(2)
    with pytest.raises(ProcessError, match="a training worker of verl died"), told_if_a_worker_dies():
        ray.get(actors[1].known.remote(0))
