"""The joint loop without an engine: it drives a method through its four hooks and keeps the ledger.

    order ─► template of each slot ─► K rollouts ─► rewards ─► ledger          (within an epoch, by the trainer)
    ledger ─► summary ─► method.between_epochs ─► templates of the next epoch  (between two epochs)

A trainer (TRL, verl) asks it for the template of each rollout slot and tells it the rewards of every group. Between two
epochs the trainer gives it the tools that the method needs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base.text import shorten
from ..errors import ConfigError
from .credit import Credit
from .epoch_files import forget_epochs_from, write_epoch
from .given import prompted
from .hard import HardLedger, Tally
from .methods import EpochEnd, Method, PromptTools, load_method
from .samples import Sample
from .schedule import Schedule
from .settings import LoopSettings
from .states import is_mastered
from .summary import EpochSummary, summarize
from .withdrawal import needs_of


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
        self.settings, self.samples, self.run_dir, self.seed = settings, samples, run_dir, seed
        self.method = load_method(settings.method)(settings, samples, group_size, seed)
        self.ledger = HardLedger(settings.success_threshold)
        self.schedule = Schedule()  # stays empty where sampling is uniform
        self.next_epoch = 1
        """Number of the epoch that begins after the next prompt step."""
        self.graduated: set[str] = set()
        """Samples that were solved bare after having needed a template."""
        self.mastered: set[str] = set()
        """Samples of which all bare rollouts were solved in an earlier epoch."""
        self.assignment = self._assignment()
        """Sample id → its K templates in the running epoch. Samples without a template are not in it."""
        self.needed = set(prompted(self.assignment))
        """Samples that have, or had, a template."""
        self.adaptive = settings.sampling == "adaptive"
        self.has_own_order = self.adaptive or type(self.method).order is not Method.order
        """Whether the order of an epoch may differ from the uniform one."""
        if self.adaptive and type(self.method).order is not Method.order:
            raise ConfigError(f"method {settings.method} has an order of its own; leave sampling at uniform")

    def order(self, ids: Sequence[str], epoch: int) -> list[str]:
        """The samples of an epoch in the order in which they are drawn.

        Args:
            ids: the uniform order.
            epoch: from 0.

        Raises:
            ConfigError: the method gives more or fewer ids, or one that is not in the data.
        """
        if self.adaptive:
            return self.schedule.order(ids, epoch, random.Random(f"{self.seed}:{epoch}:order"))
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
        self, sample_id: str, rewards: Sequence[float], templated: Sequence[bool], totals: Sequence[float] | None = None
    ) -> None:
        """Adds the rewards of one group, see `HardLedger.record`."""
        self.ledger.record(sample_id, rewards, templated, totals)

    def credit(self) -> Credit:
        """How scaffolded rollouts are trained in the running epoch."""
        return self.method.credit(self.next_epoch - 1)

    def rolls_out_next(self) -> bool:
        """Whether the next prompt step will roll out."""
        return self.method.rolls_out(self.known_tallies())

    def known_tallies(self) -> dict[str, Tally]:
        """Sample id → its tally in this epoch; of a sample that rested, in the last epoch that drew it."""
        return self.schedule.last | self.ledger.tallies

    def prompt_step(self, tools: PromptTools) -> EpochSummary:
        """Closes the epoch: sums it up, and lets the method prepare the next one."""
        summary = self._summary()
        end = EpochEnd(self.next_epoch, self.known_tallies(), summary, tools, self.run_dir)
        helped = set(self.assignment)
        self.method.between_epochs(end)
        self.assignment = self._assignment()
        summary.returned = len((self.assignment.keys() - helped) & self.needed)
        if self.adaptive:
            self.schedule.add_epoch(self.ledger.tallies, self.assignment, summary.epoch)
        self.needed |= set(prompted(self.assignment))
        summary.templated_next = len(prompted(self.assignment))
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
        if self.adaptive:
            summary.notes.append(self.schedule.draws_line(self.ledger.tallies, self.method.group_size))
        if write:
            self._write(summary)
        return summary

    def _summary(self) -> EpochSummary:
        tallies = self.ledger.tallies
        self.graduated |= {i for i in self.needed if i in tallies and tallies[i].bare_solved}
        summary = summarize(tallies, self.next_epoch - 1, self.mastered)
        self.mastered |= {i for i, tally in tallies.items() if is_mastered(tally)}
        needs = needs_of(self.known_tallies(), self.settings.withdrawal, self.settings.tau - 1)
        summary.hard = sum(need == "hard" for need in needs.values())
        summary.graduated = len(self.graduated)
        return summary

    def _write(self, summary: EpochSummary) -> None:
        write_epoch(self.run_dir, summary, self.ledger.tallies, self.method.pool(), prompted(self.assignment))

    def forget_later_epochs(self) -> None:
        """Removes the epoch files that an earlier run wrote after the point from which this one continues."""
        forget_epochs_from(self.run_dir, self.next_epoch - 1)

    def state_dict(self) -> dict[str, Any]:
        """Ledger, method and epoch; JSON-able. A run continues from it."""
        return {
            "ledger": self.ledger.state_dict(),
            "method": self.method.state_dict(),
            "needed": sorted(self.needed),
            "graduated": sorted(self.graduated),
            "mastered": sorted(self.mastered),
            "schedule": self.schedule.state_dict(),
            "next_epoch": self.next_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.ledger.load_state_dict(state["ledger"])
        self.method.load_state_dict(state["method"])
        self.assignment = self._assignment()
        self.needed, self.graduated = set(state["needed"]), set(state["graduated"])
        self.mastered = set(state["mastered"])
        self.schedule.load_state_dict(state["schedule"])
        self.next_epoch = int(state["next_epoch"])
