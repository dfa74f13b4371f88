"""What a person at the terminal sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from .cost import CostMeter
    from .evolve import EvolveProgress
    from .loop import EpochSummary

console = Console(highlight=False, soft_wrap=True)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def print_epoch(summary: EpochSummary, held_out: float | None, cost: CostMeter, seconds: float) -> None:
    """The short table after an epoch."""
    dead = summary.all_failed + summary.all_solved
    rows = [
        ("bare held-out success", percent(held_out)),
        (
            "success in training",
            f"bare {percent(summary.bare_success)}, templated {percent(summary.templated_success)}",
        ),
        ("dead groups", f"{dead} of {summary.groups} ({summary.all_failed} all failed)"),
        ("hard / rescued / graduated", f"{summary.hard} / {summary.rescued} / {summary.graduated}"),
    ]
    if summary.evolved:
        rows.append(
            ("evolution", f"{summary.candidates} candidates, pool {summary.pool}, "
                          f"solves {summary.covered} of {summary.dev_size} dev samples")
        )  # fmt: skip
    if summary.best_template:
        rows.append((f"best template ({percent(summary.best_dev_score)})", summary.best_template))
    rows.append(("templated next epoch", f"{summary.templated_next} samples"))
    rows.append(("cost so far", f"{cost.training_cost:,} forward-equivalent tokens, {seconds:.0f} s"))
    console.print(Text(f"epoch {summary.epoch + 1}", style="bold"))
    for name, value in rows:
        console.print(Text(f"  {name:<28}", style="dim").append(value, style="default"))
    for note in summary.notes:
        console.print(Text(f"  ! {note}", style="yellow"))


def print_flat(summary: EpochSummary, run_dir: Path) -> None:
    """One line on why nothing is learned, when most groups have no spread."""
    if summary.groups and summary.all_failed >= 0.7 * summary.groups and not summary.templated_next:
        helped = f"; {summary.pool} templates helped: see {run_dir}" if summary.evolved else ""
        console.print(
            Text(f"  flat: {summary.all_failed} of {summary.groups} groups are dead (all rollouts failed){helped}",
                 style="yellow")
        )  # fmt: skip


class EvolutionBar:
    """Progress of an evolution against its budget, with the time left. Shown once its budget is known."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None

    def update(self, progress: EvolveProgress) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=progress.budget, desc=self.label, unit="rollout", leave=False)
        self.bar.update(progress.metric_calls - self.bar.n)
        self.bar.set_postfix_str(f"pool {progress.pool}, best {progress.best_score:.2f}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
