"""What a person at the terminal sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from ..core.cost import CostMeter
    from ..core.evolve import EvolveProgress
    from ..core.loop import EpochSummary

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
    if summary.paired_bare_success is not None:
        both = f"bare {percent(summary.paired_bare_success)}, templated {percent(summary.paired_templated_success)}"
        rows.append(("same samples, both ways", both))
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
    flat = flat_reason(summary)
    for note in [*summary.notes, *([f"flat: {flat}"] if flat else [])]:
        console.print(Text(f"  ! {note}", style="yellow"))


FLAT_SHARE = 0.7
"""With so many groups without spread there is next to nothing to learn from."""


def flat_reason(summary: EpochSummary) -> str | None:
    """One line on why next to nothing is learned, when most groups are dead; else None.

    Silent while templates are about to help: the next epoch says whether they did.
    """
    failed, solved, groups = summary.all_failed, summary.all_solved, summary.groups
    if failed + solved < FLAT_SHARE * groups or summary.templated_next:
        return None
    if solved >= failed:
        return f"{solved} of {groups} groups are dead (all rollouts solved): there is little left to learn here"
    dead = f"{failed} of {groups} groups are dead (all rollouts failed)"
    if summary.evolved:
        where = f"p2o/evolution-{summary.epoch + 1:03d}/evolution.json"
        return f"{dead}; {summary.helping} templates helped: see {where}"
    reason = next((n for n in summary.notes if "no evolution" in n), "")
    return f"{dead}; {reason}" if reason else f"{dead} and no templates were evolved after this epoch"


def progress_bar(total: int, label: str, unit: str = "rollout", shown: bool = True) -> Any:
    """A bar with the time left, for a long phase."""
    from tqdm import tqdm

    # None: shown on a terminal only, so that a log file does not fill up with it.
    return tqdm(total=total, desc=label, unit=unit, leave=False, disable=None if shown else True)


class EvolutionBar:
    """Progress of an evolution against its budget, with the time left. Shown once its budget is known."""

    def __init__(self, label: str, shown: bool = True) -> None:
        self.label = label
        self.shown = shown
        self.bar: Any = None

    def update(self, progress: EvolveProgress) -> None:
        if self.bar is None:
            self.bar = progress_bar(progress.budget, self.label, shown=self.shown)
        self.bar.update(progress.metric_calls - self.bar.n)
        self.bar.set_postfix_str(f"pool {progress.pool}, best {progress.best_score:.2f}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
