"""A write that fails ends the run with one sentence; the last good checkpoint stays good."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from helpers import letters, make_trainer
from p2o.base.files import read_json, write_json
from p2o.base.journal import Journal
from p2o.errors import StateError
from p2o.trl.checkpoint import check_checkpoint, damage, latest_checkpoint

STEPS = {"max_completion_length": 4, "save_strategy": "steps", "save_steps": 1, "max_steps": 4}


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes: writing fails as on a full disk, in C and Rust code too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("limit", "last"),
    [(100, "p2o_state.json"), (1_000_000, "model.safetensors"), (5_000_000, "optimizer.pt")],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_the_disk_fills_up_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, last: str
) -> None:
    trainer = make_trainer(tmp_path, letters, **STEPS)
    save = trainer._save_checkpoint

    def save_on_a_full_disk(model: object, trial: object) -> None:
        if trainer.state.global_step < 2:
            return save(model, trial)
        with full_disk(limit):
            return save(model, trial)

    monkeypatch.setattr(trainer, "_save_checkpoint", save_on_a_full_disk)
    with pytest.raises(StateError) as caught:
        trainer.train()
    said = str(caught.value)
    assert "cannot write" in said
    assert "checkpoint-2" in said
    assert said.endswith(f"continue from {tmp_path / 'checkpoint-1'}")
    assert "\n" not in said
    assert damage(tmp_path / "checkpoint-2")
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    resumed = make_trainer(tmp_path, letters, **STEPS)
    resumed.train(resume_from_checkpoint=True)
    plain = make_trainer(tmp_path / "plain", letters, **STEPS)
    plain.train()
    for left, right in zip(resumed.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_state_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    write_json(file, {"text": "old"})
    with full_disk(64), pytest.raises(StateError, match=r"cannot write .*state.json \(File too large\); make room"):
        write_json(file, {"text": "new" * 100})
    assert read_json(file) == {"text": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_journal_goes_on_after_a_failed_write(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.jsonl")
    journal.append({"n": 1})
    with full_disk(40), pytest.raises(StateError, match=r"cannot write .*x.jsonl \(File too large\)"):
        journal.append({"n": 2, "text": "x" * 100})
    again = Journal(tmp_path / "x.jsonl")
    assert again.events == [{"n": 1}]
    again.append({"n": 2})
    assert Journal(tmp_path / "x.jsonl").events == [{"n": 1}, {"n": 2}]


def test_text_that_is_no_unicode_is_written_too(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"text": "lone \ud800, ü, \\ud800"})
    assert read_json(tmp_path / "x.json") == {"text": "lone \ud800, ü, \\ud800"}


def test_a_damaged_state_names_the_file_and_an_older_checkpoint(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, letters, **STEPS | {"max_steps": 2})
    trainer.train()
    newest = tmp_path / "checkpoint-2"
    for content in ("", '{"schema": 1, "loop"', "\x00\x00", "[]", '{"schema": 99}'):
        (newest / "p2o_state.json").write_text(content)
        with pytest.raises(StateError) as caught:
            trainer.train(resume_from_checkpoint=str(newest))
        assert str(newest) in str(caught.value)
        if damage(newest):  # JSON of another version is not passed over in silence
            assert f"use {tmp_path / 'checkpoint-1'}" in str(caught.value)
            assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")


def test_weights_alone_are_no_state_to_go_on_from(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, letters, save_only_model=True, **STEPS | {"max_steps": 1})
    trainer.train()
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(StateError, match="only weights"):
        check_checkpoint(tmp_path / "checkpoint-1")
