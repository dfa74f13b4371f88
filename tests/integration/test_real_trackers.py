"""HF's callbacks with the real TensorBoard, wandb and trackio, offline: what they keep beside figures.

    pip install tensorboard wandb trackio

They are in no extra of the package; where one of them is missing, its test is skipped.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments, integrations

from helpers import hard_rows, make_trainer
from p2o.core.shown import ShownSample
from p2o.trl.trackers import sample_sheet, send_report, send_sheets, template_sheet

POOL = [{"text": "Think | <b>step</b>\nby step.", "weight": 0.5, "solves": ["a", "b"]}]
SHEETS = [template_sheet(2, POOL), sample_sheet(2, ShownSample("id", "What is 1 + 1?", "2", "\x1b[2J3", "T", None))]
ROW = [2, "id", "What is 1 + 1?", "2", "3", "T", ""]


def begun(name: str, folder: Path) -> Any:
    """The callback of a tracker, with a run that has begun."""
    callback = getattr(integrations, name)()
    args = TrainingArguments(str(folder / "out"), report_to=[], run_name="run", use_cpu=True)
    state = TrainerState(is_world_process_zero=True)
    model = torch.nn.Linear(1, 1)
    callback.on_train_begin(args, state, TrainerControl(), model=model)
    callback.on_log(args, state, TrainerControl(), model=model, logs={"loss": 0.5})
    return callback


def trackio_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """trackio, which reads its folder from the environment once, writes there."""
    storage = pytest.importorskip("trackio.sqlite_storage")
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(storage, "TRACKIO_DIR", folder)


def test_tensorboard_keeps_texts(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    callback = begun("TensorBoardCallback", tmp_path)
    send_sheets([callback], SHEETS, 7)
    callback.tb_writer.close()
    (file,) = tmp_path.rglob("events.*")
    found = events.EventAccumulator(str(file), size_guidance={"tensors": 0})
    found.Reload()
    (sample,) = found.Tensors("p2o/sample/text_summary")
    text = sample.tensor_proto.string_val[0].decode()
    assert (sample.step, text.splitlines()[2]) == (7, "| 2 | id | What is 1 + 1? | 2 | 3 | T |  |")
    assert "p2o/templates/text_summary" in found.Tags()["tensors"]


def test_wandb_keeps_tables_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    for key, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    page = tmp_path / "report.html"
    page.write_text("<p>the report</p>", encoding="utf-8")
    callback = begun("WandbCallback", tmp_path)
    send_sheets([callback], SHEETS, 7)
    send_report([callback], page)
    name = f"report-{wandb.run.id}"
    wandb.finish()
    tables = [json.loads(file.read_text()) for file in tmp_path.rglob("*.table.json") if not file.is_symlink()]
    assert [ROW] in [table["data"] for table in tables]
    (record,) = tmp_path.rglob("*.wandb")
    assert name.encode() in record.read_bytes()


def test_trackio_keeps_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio_in(tmp_path, monkeypatch)
    callback = begun("TrackioCallback", tmp_path)
    send_sheets([callback], SHEETS, 7)
    callback._trackio.finish()
    (file,) = tmp_path.glob("*.db")
    rows = [json.loads(row[0]) for row in sqlite3.connect(file).execute("select metrics from metrics")]
    (sample,) = [row["p2o/sample"]["_value"] for row in rows if "p2o/sample" in row]
    assert list(sample[0].values()) == ROW


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_what_is_evaluated_before_and_after_training_is_in_the_runs_own_place(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard wrote into the folder in which the program ran; trackio stopped the run, as it had not begun."""
    if tracker == "trackio":
        trackio_in(tmp_path / "trackio", monkeypatch)
    pytest.importorskip(tracker)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trainer = make_trainer(tmp_path / "out", report_to=[tracker], max_steps=1)
    trainer.evaluate(hard_rows(2), metric_key_prefix="test")
    trainer.train()
    trainer.evaluate(hard_rows(2), metric_key_prefix="test")
    assert not list(Path().iterdir())
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logs = [EventAccumulator(str(file)) for file in (tmp_path / "out").rglob("events.*")]
        steps = [event.step for log in logs for event in log.Reload().Scalars("test/bare_success")]
        assert sorted(steps) == [0, 1]
        assert len({Path(log.path).parent for log in logs}) == 1
        return
    import trackio

    trackio.finish()
    (file,) = (tmp_path / "trackio").glob("*.db")
    rows = sqlite3.connect(file).execute("select run_name, metrics from metrics").fetchall()
    assert len({name for name, _ in rows}) == 1
    assert sum("test/bare_success" in json.loads(row) for _, row in rows) == 2
