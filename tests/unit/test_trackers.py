"""What trackers get beside figures, with stand-ins; tests/integration/test_real_trackers.py has the real ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from p2o.core.shown import ShownSample
from p2o.trl.trackers import sample_sheet, send_report, send_sheets, template_sheet

POOL = [{"text": "Think | <b>step</b>\nby step.", "weight": 0.5, "solves": ["a", "b"]}]
SAMPLE = ShownSample("id", "What is 1 + 1?", "2", "\x1b[2J3", "T", None)
SHEETS = [template_sheet(2, POOL), sample_sheet(2, SAMPLE)]


class TensorBoardCallback:
    def __init__(self) -> None:
        self.texts: list[Any] = []
        self.tb_writer: Any = SimpleNamespace(add_text=lambda *words: self.texts.append(words))


class Backend:
    """wandb's and trackio's interface, as far as it is used."""

    def __init__(self) -> None:
        self.logged: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.run: Any = SimpleNamespace(id="r1", log_artifact=self.artifacts.append)

    def log(self, values: dict[str, Any]) -> None:
        self.logged |= values

    def Table(self, dataframe: Any) -> Any:
        return dataframe.to_dict("list")

    def Artifact(self, name: str, type: str) -> Any:
        files: list[str] = []
        return SimpleNamespace(name=name, type=type, files=files, add_file=files.append)


class WandbCallback:
    def __init__(self, backend: Backend | None) -> None:
        self._wandb = backend


class TrackioCallback:
    def __init__(self, backend: Backend) -> None:
        self._trackio = backend


def test_tensorboard_gets_text_that_stays_in_its_cells() -> None:
    board = TensorBoardCallback()
    send_sheets([board], SHEETS, 7)
    (name, text, step), (other, sample, _) = board.texts
    assert (name, other, step) == ("p2o/templates", "p2o/sample", 7)
    assert text.splitlines()[2] == "| 2 | Think \\| &lt;b>step&lt;/b> by step. | 0.5 | 2 |"
    assert "\x1b" not in sample


def test_wandb_and_trackio_get_tables() -> None:
    one, two = Backend(), Backend()
    send_sheets([WandbCallback(one), TrackioCallback(two)], SHEETS, 7)
    assert one.logged == two.logged
    assert one.logged["p2o/templates"]["weight"] == [0.5]
    assert one.logged["p2o/sample"]["bare"] == ["3"]
    assert one.logged["p2o/sample"]["templated"] == [""]


def test_nothing_is_sent_without_a_tracker_a_run_or_rows() -> None:
    idle = Backend()
    idle.run = None
    board = TensorBoardCallback()
    send_sheets([object(), WandbCallback(None), WandbCallback(idle), board], [template_sheet(1, [])], 1)
    assert board.texts == []
    board.tb_writer = None
    send_sheets([board], SHEETS, 1)
    assert idle.logged == {}


def test_the_report_is_an_artifact_of_wandb() -> None:
    backend = Backend()
    send_report([object(), WandbCallback(None), WandbCallback(backend)], Path("runs/a/report.html"))
    (artifact,) = backend.artifacts
    assert (artifact.name, artifact.type, artifact.files) == ("report-r1", "report", ["runs/a/report.html"])
