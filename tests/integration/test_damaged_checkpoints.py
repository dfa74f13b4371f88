"""A run continues from the newest whole checkpoint, or says in one sentence why it cannot; never from damage."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import hard_rows, letters, make_trainer, settings
from p2o import P2OConfig, P2OTrainer
from p2o.errors import StateError
from p2o.generation.models import resolve_model
from p2o.trl.checkpoint import MANIFEST, STATE_FILE, choose_checkpoint, damage, latest_checkpoint

STEPS = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "max_completion_length": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two whole checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder, letters, **STEPS).train()
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "p2o_rollouts_0.buffer")
DAMAGES = (zero, half, one_bit, missing, empty)


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_found_and_the_older_checkpoint_taken(copy: Path, name: str, spoil: Any) -> None:
    newest = copy / "checkpoint-2"
    spoil(newest / name)
    assert damage(newest, deep=True)
    chosen, left = choose_checkpoint(copy)
    assert chosen == str(copy / "checkpoint-1")
    assert len(left) == 1
    assert str(newest) in left[0]
    assert name in left[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (STATE_FILE, '{"schema": 1}'), (STATE_FILE, "{"), (STATE_FILE, '{"schema": 9}'), (STATE_FILE, "[]"),
        (MANIFEST, '{"schema": 1}'), (MANIFEST, "{"), (MANIFEST, '{"schema": 1, "files": []}'),
        (MANIFEST, '{"schema": 1, "files": {"p2o_state.json": 3}}'), ("trainer_state.json", "{}"),
    ],
)  # fmt: skip
def test_damaged_json_too(copy: Path, name: str, text: str) -> None:
    (copy / "checkpoint-2" / name).write_text(text)
    chosen, left = choose_checkpoint(copy)
    assert chosen == str(copy / "checkpoint-1")
    assert len(left) == 1
    with pytest.raises(StateError, match=r"checkpoint-2 cannot be continued from: .*; use .*checkpoint-1"):
        make_trainer(copy, letters, **STEPS).train(resume_from_checkpoint=str(copy / "checkpoint-2"))


@pytest.mark.parametrize(
    ("schema", "says"),
    [(1, "p2o_state.json has schema 1, this version reads 2"), (2, "p2o_state.json is of another version of p2o")],
)
def test_a_state_of_another_version_is_one_sentence(copy: Path, schema: int, says: str) -> None:
    from p2o.trl.checkpoint import write_manifest

    state = copy / "checkpoint-2" / STATE_FILE
    state.write_text(json.dumps({"schema": schema, "loop": {}}))
    write_manifest(copy / "checkpoint-2")
    with pytest.raises(StateError, match=says):
        make_trainer(copy, letters, **STEPS).train(resume_from_checkpoint=True)


def test_the_run_continues_from_the_older_one_to_the_same_weights(run: Path, copy: Path) -> None:
    one_bit(copy / "checkpoint-2" / "optimizer.pt")
    trainer = make_trainer(copy, letters, **STEPS)
    with pytest.warns(UserWarning, match=r"checkpoint-2 cannot be continued from: optimizer.pt is damaged"):
        trainer.train(resume_from_checkpoint=True)
    whole = make_trainer(run, letters, **STEPS)
    whole.train(resume_from_checkpoint=True)
    for left, right in zip(trainer.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_without_a_whole_one_there_is_nothing_to_continue_from(copy: Path) -> None:
    for n in (1, 2):
        missing(copy / f"checkpoint-{n}" / "optimizer.pt")
    assert choose_checkpoint(copy)[0] is None
    assert latest_checkpoint(copy) is None


def changed_rows(rows: Any, how: str) -> Any:
    table = rows.to_list()
    if how == "answers":
        table[0]["answer"] = "1"
    elif how == "prompts":
        table[0]["prompt"] = [{"role": "user", "content": "What is 1 + 1?"}]
    elif how == "order":
        table[0], table[1] = table[1], table[0]
    elif how == "fewer":
        table = table[:-1]
    else:
        table[0]["level"] = "other"
    return type(rows).from_list(table)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("answers", "answers differ"), ("prompts", "prompts differ"), ("order", "the rows or their order"),
        ("fewer", "it had 8 rows and has 7"), ("columns", "other columns differ"),
    ],
)  # fmt: skip
def test_other_data_is_never_trained_on(tmp_path: Path, how: str, says: str) -> None:
    def trainer(rows: Any) -> Any:
        config = P2OConfig(**settings(tmp_path, **STEPS))
        return P2OTrainer(resolve_model("builtin:sandbox"), letters, config, rows, reflector=lambda jobs: [])

    rows = hard_rows(8)
    trainer(rows).train()
    with pytest.raises(StateError, match=rf"the training data has changed \(.*{says}"):
        trainer(changed_rows(rows, how)).train(resume_from_checkpoint=True)
