"""Templates, sample completions and the report for the trackers that ``report_to`` names.

Figures reach every tracker by HF's own callbacks. These things are no figures: TensorBoard gets them as text, wandb and
trackio as tables, and wandb the report as an artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..base.text import clean_text
from ..core.shown import ShownSample


@dataclass(frozen=True)
class Sheet:
    """A small table of texts and numbers."""

    name: str
    """As the tracker shows it: ``p2o/templates``."""
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> str:
        """The table as Markdown; its texts cannot end a cell."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def template_sheet(epoch: int, pool: Sequence[Mapping[str, Any]]) -> Sheet:
    """The templates that are kept after an epoch (from 1)."""
    rows = [[epoch, t["text"] or "(the bare prompt)", t["weight"], len(t["solves"])] for t in pool]
    return Sheet("p2o/templates", ["epoch", "template", "weight", "dev samples solved"], rows)


def sample_sheet(epoch: int, sample: ShownSample) -> Sheet:
    """The sample of an epoch that is shown in full."""
    fields = asdict(sample)
    return Sheet("p2o/sample", ["epoch", *fields], [[epoch, *("" if v is None else v for v in fields.values())]])


def send_sheets(callbacks: Iterable[Any], sheets: Sequence[Sheet], step: int) -> None:
    """Sends tables to the trackers of a trainer (main process only).

    Args:
        callbacks: the trainer's; those of HF's trackers are found by their names.
        step: the training step.
    """
    for callback in callbacks:
        name, sheets_there = type(callback).__name__, [sheet for sheet in sheets if sheet.rows]
        if name == "TensorBoardCallback" and callback.tb_writer is not None:
            for sheet in sheets_there:
                callback.tb_writer.add_text(sheet.name, sheet.markdown(), step)
        elif name == "WandbCallback" and callback._wandb is not None and callback._wandb.run is not None:
            _send_tables(callback._wandb, sheets_there)
        elif name == "TrackioCallback":
            _send_tables(callback._trackio, sheets_there)


def begin_trackers(callbacks: Iterable[Any], args: Any, state: Any, control: Any, model: Any) -> None:
    """Begins the trackers' runs as training does, for figures from before and after it.

    Otherwise TensorBoard would write those from before it, and all later ones, into the folder in which the program
    runs, and trackio would begin another run for those from after it.

    Args:
        callbacks, args, state, control, model: the trainer's, as HF's callbacks get them.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if name == "TensorBoardCallback" and callback.tb_writer is None:
            callback.on_train_begin(args, state, control, model=model)
        elif name == "TrackioCallback" and not callback._initialized:
            callback.on_train_begin(args, state, control, model=model)
            run = callback._trackio.context_vars.current_run.get()
            args.run_name = args.run_name or (run and run.name)


def _send_tables(backend: Any, sheets: Sequence[Sheet]) -> None:
    """wandb and trackio have the same interface here (and TRL uses it so)."""
    import pandas

    for sheet in sheets:
        cells = [[clean_text(value) if isinstance(value, str) else value for value in row] for row in sheet.rows]
        backend.log({sheet.name: backend.Table(dataframe=pandas.DataFrame(cells, columns=list(sheet.columns)))})


def send_report(callbacks: Iterable[Any], report: Path) -> None:
    """Keeps the report with the run of the tracker that has artifacts (wandb)."""
    for callback in callbacks:
        if type(callback).__name__ == "WandbCallback" and callback._wandb is not None:
            wandb = callback._wandb
            if wandb.run is not None:
                artifact = wandb.Artifact(f"report-{wandb.run.id}", type="report")
                artifact.add_file(str(report))
                wandb.run.log_artifact(artifact)


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else clean_text(str(value))
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
