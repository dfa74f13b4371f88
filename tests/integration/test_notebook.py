"""examples/quickstart.ipynb runs without a person: one table, the report inline, and nothing in red."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def test_the_notebook_runs(tmp_path: Path) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "num_train_epochs=4" in text
    notebook = nbformat.reads(text.replace("num_train_epochs=4", "num_train_epochs=2"), as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    red = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert red == []
    pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    progress, report = pages
    assert "epoch 2 of 2" in progress
    assert "templated, solved" in progress  # a sample in full
    assert "Training Loss" not in progress  # HF's own table
    assert report.startswith("<iframe")
    assert "Reward in training" in report
    assert (tmp_path / "runs" / "notebook" / "report.html").exists()
