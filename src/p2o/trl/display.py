"""What a run shows at the terminal: a table after each epoch, and the progress of an evolution."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from trl.trainer import utils

from ..base.terminal import CleanConsole, console, percent, progress_bar
from ..core.cost import CostMeter
from ..core.diagnosis import flat_reason
from ..core.evolve import EvolveProgress
from ..core.summary import EpochSummary

utils.Console = CleanConsole  # TRL's table of completions (log_completions) is cleaned in the same way


def print_epoch(summary: EpochSummary, held_out: float | None, cost: CostMeter, seconds: float) -> None:
    """Prints the short table after an epoch.

    Args:
        held_out: success of the bare prompt on held-out data; None: not measured.
        cost: the run's cost so far.
        seconds: time since training began.
    """
    rows = [
        ("bare held-out success", percent(held_out)),
        (
            "success in training",
            f"bare {percent(summary.bare_success)}, templated {percent(summary.templated_success)}",
        ),
        ("no spread of rewards", f"{summary.no_spread} of {summary.groups} groups"),
        ("all failed / all solved", f"{summary.all_failed} / {summary.all_solved}"),
        ("hard / rescued / graduated", f"{summary.hard} / {summary.rescued} / {summary.graduated}"),
    ]
    if summary.paired_bare_success is not None:
        both = f"bare {percent(summary.paired_bare_success)}, templated {percent(summary.paired_templated_success)}"
        rows.append(("same samples, both ways", both))
    if summary.evolved:
        solves = f"solves {summary.covered} of {summary.dev_size} dev samples"
        if summary.covered is None:
            solves = "not scored"
        rows.append(("evolution", f"{summary.candidates} candidates, pool {summary.pool}, {solves}"))
    if summary.best_template:
        rows.append((f"best template ({percent(summary.best_dev_score)})", summary.best_template))
    rows.append(("templated next epoch", f"{summary.templated_next} samples"))
    rows.append(("cost so far", f"{cost.training_cost:,} forward-equivalent tokens, {seconds:.0f} s"))
    console.print(Text(f"epoch {summary.epoch + 1}", style="bold"))
    for name, value in rows:
        console.print(Text(f"  {name:<28}", style="dim").append(value, style="default"))
    flat = flat_reason(summary)
    for note in [*summary.notes, *([f"flat: {flat}"] if flat else [])]:
        console.print(Text(f"  ! {note}", style="yellow"))


class EvolutionBar:
    """Progress of an evolution against its budget, with the time left. It is shown as soon as the budget is known."""

    def __init__(self, label: str, shown: bool = True) -> None:
        """``label`` is shown before the bar; with ``shown`` False nothing is shown."""
        self.label = label
        self.shown = shown
        self.bar: Any = None

    def update(self, progress: EvolveProgress) -> None:
        """Moves the bar to the evolution's state."""
        if self.bar is None:
            self.bar = progress_bar(progress.budget, self.label, shown=self.shown)
        self.bar.update(progress.metric_calls - self.bar.n)
        self.bar.set_postfix_str(f"pool {progress.pool}, best {progress.best_score:.2f}")

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.close()
