"""The joint loop without an engine: it drives a method through its four hooks and keeps the ledger.

    order ─► template of each slot ─► K rollouts ─► rewards ─► ledger          (within an epoch, by the trainer)
    ledger ─► summary ─► method.between_epochs ─► templates of the next epoch  (between two epochs)

A trainer (TRL, verl) asks it for the template of each rollout slot and tells it the rewards of every group. Between two
epochs the trainer gives it the tools that the method needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..base.files import write_json
from ..base.text import shorten
from ..errors import ConfigError
from .credit import Credit
from .hard import HardLedger, needs_of
from .methods import EpochEnd, PromptTools, load_method
from .samples import Sample
from .settings import LoopSettings
from .summary import EpochSummary, summarize


class JointLoop:
    """State of the loop and its transitions; identical on all processes.

    Args:
        settings: the loop's settings.
        samples: all training samples by id.
        run_dir: folder for the epochs' and the method's files.
        group_size: K, rollouts of a sample in an epoch.
        seed: of the run.
    """

    def __init__(
        self, settings: LoopSettings, samples: Mapping[str, Sample], run_dir: Path, group_size: int, seed: int
    ) -> None:
        self.settings, self.samples, self.run_dir = settings, samples, run_dir
        self.method = load_method(settings.method)(settings, samples, group_size, seed)
        self.ledger = HardLedger(settings.success_threshold)
        self.next_epoch = 1
        """Number of the epoch that begins after the next prompt step."""
        self.graduated: set[str] = set()
        """Samples that were solved bare after having needed a template."""
        self.assignment = self._assignment()
        """Sample id → its K templates in the running epoch. Samples without a template are not in it."""
        self.needed: set[str] = set(self.assignment)
        """Samples that have, or had, a template."""

    def order(self, ids: Sequence[str], epoch: int) -> list[str]:
        """The samples of an epoch in the order in which they are drawn.

        Args:
            ids: the uniform order.
            epoch: from 0.

        Raises:
            ConfigError: the method gives more or fewer ids, or one that is not in the data.
        """
        wanted = list(self.method.order(ids, epoch))
        if len(wanted) != len(ids) or not self.samples.keys() >= set(wanted):
            known = sum(i in self.samples for i in wanted)
            raise ConfigError(
                f"method {self.settings.method}: 'order' returned {len(wanted)} ids for epoch {epoch}, {known} of them "
                f"of the training data; return {len(ids)} of its ids"
            )
        return wanted

    def _assignment(self) -> dict[str, list[str]]:
        prompts = {i: self._prompts(i) for i in self.samples}
        return {i: templates for i, templates in prompts.items() if any(templates)}

    def _prompts(self, sample_id: str) -> list[str]:
        templates, slots = self.method.prompts(sample_id), self.method.group_size
        if isinstance(templates, str) or len(templates) not in (0, slots):
            raise ConfigError(
                f"method {self.settings.method}: 'prompts' returned {shorten(repr(templates), 100)} for sample "
                f"{sample_id!r}; return a list of {slots} texts, one for each rollout, or an empty one"
            )
        return list(templates)

    def template(self, sample_id: str, slot: int) -> str:
        """The template of a rollout slot in the running epoch; "" is the bare prompt."""
        templates = self.assignment.get(sample_id)
        return templates[slot % len(templates)] if templates else ""

    def record(
        self,
        sample_id: str,
        rewards: Sequence[float],
        templated: Sequence[bool],
        totals: Sequence[float] | None = None,
    ) -> None:
        """Adds the rewards of one group, see `HardLedger.record`."""
        self.ledger.record(sample_id, rewards, templated, totals)

    def credit(self) -> Credit:
        """How scaffolded rollouts are trained in the running epoch."""
        return self.method.credit(self.next_epoch - 1)

    def rolls_out_next(self) -> bool:
        """Whether the next prompt step will roll out."""
        return self.method.rolls_out(self.ledger.tallies)

    def prompt_step(self, tools: PromptTools) -> EpochSummary:
        """Closes the epoch: sums it up, and lets the method prepare the next one."""
        summary = self._summary()
        end = EpochEnd(self.next_epoch, self.ledger.tallies, summary, tools, self.run_dir)
        self.method.between_epochs(end)
        self.assignment = self._assignment()
        self.needed |= set(self.assignment)
        summary.templated_next = len(self.assignment)
        self._write(summary)
        self.ledger.clear()
        self.next_epoch += 1
        return summary

    def close(self, write: bool = True) -> EpochSummary:
        """Sums up the last epoch. No prompt step follows it.

        Args:
            write: whether this process writes the epoch's file (one of them should).
        """
        summary = self._summary()
        if write:
            self._write(summary)
        return summary

    def _summary(self) -> EpochSummary:
        tallies = self.ledger.tallies
        self.graduated |= {i for i in self.needed if i in tallies and tallies[i].bare_solved}
        summary = summarize(tallies, self.next_epoch - 1)
        needs = needs_of(tallies, self.settings.withdrawal, self.settings.tau - 1)
        summary.hard = sum(need == "hard" for need in needs.values())
        summary.graduated = len(self.graduated)
        return summary

    def _write(self, summary: EpochSummary) -> None:
        """Writes one file per epoch. An epoch that is repeated after a resume overwrites its own file."""
        write_json(
            self.run_dir / f"epoch-{summary.epoch:03d}.json",
            {
                "summary": asdict(summary),
                "tallies": self.ledger.state_dict()["tallies"],
                "pool": list(self.method.pool()),
                "assignment": self.assignment,
            },
        )

    def forget_later_epochs(self) -> None:
        """Removes the epoch files that an earlier run wrote after the point from which this one continues."""
        for path in self.run_dir.glob("epoch-*.json"):
            number = path.stem.rpartition("-")[2]
            if number.isdigit() and int(number) >= self.next_epoch - 1:
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """Ledger, method and epoch; JSON-able. A run continues from it."""
        return {
            "ledger": self.ledger.state_dict(),
            "method": self.method.state_dict(),
            "needed": sorted(self.needed),
            "graduated": sorted(self.graduated),
            "next_epoch": self.next_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.ledger.load_state_dict(state["ledger"])
        self.method.load_state_dict(state["method"])
        self.assignment = self._assignment()
        self.needed, self.graduated = set(state["needed"]), set(state["graduated"])
        self.next_epoch = int(state["next_epoch"])
