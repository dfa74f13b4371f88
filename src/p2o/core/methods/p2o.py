"""P²O (arXiv 2603.21877): templates are evolved for the hard samples, and what they unlock is distilled.

hard set      samples with at most τ-1 of K rollouts solved                                        hook 4
evolution     GEPA: templates z scored on the dev part of the hard set                             hook 4
pool          greedy cover of the dev part by the templates that solve it                          hook 4
assignment    a hard sample x is rolled out from T(x, z), z drawn from the pool by dev score       hook 2
distillation  ∇ A log π(y | x) on the bare prompt; each token weighed by its ratio
              r_t = π_old(y_t | x) / π_old(y_t | T(x, z)), in the paper 1[0.01 ≤ r_t ≤ 10]         hook 3
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..credit import Credit, credit_of
from ..evolve import Evolution, HeldAnswers
from ..hard import Tally
from ..metrics import note_evolution
from ..samples import Sample
from ..settings import LoopSettings
from ..solutions import check_solutions
from ..states import Need
from ..stored import slots_by_number, slots_by_text
from ..templates import PoolTemplate, assign, pool_from_json, pool_to_json
from ..withdrawal import Help, needs_of
from ..worth import alone_note, gets_on_alone, live_share
from .base import EpochEnd, Method
from .beside import NOTE, Task
from .evolving import evolve_on, pool_of


class P2O(Method):
    """The paper's method; its ablations are settings (`p2o.core.settings.LoopSettings`)."""

    given = "feedback"

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        if settings.template_worth == "solution":
            check_solutions(samples, "template_worth: solution")
        self.templates: list[PoolTemplate] = []
        """The pool."""
        self.assignment: dict[str, list[str]] = {}
        """Sample id → its K templates in the running epoch."""
        self.evolution: Evolution | None = None
        """The last evolution of this process, kept to be shown."""
        self.live: float | None = None
        """Live share of the last epoch, if it was without templates (`p2o.core.worth`)."""
        self.begun: int | None = None
        """The prompt step whose evolution runs beside the running epoch."""
        self.help = Help()
        self.smoothed = settings.withdrawal == "smoothed"

    def prompts(self, sample_id: str) -> Sequence[str]:
        return self.assignment.get(sample_id, ())

    def credit(self, epoch: int) -> Credit:
        return credit_of(self.settings, epoch)

    def rolls_out(self, tallies: Mapping[str, Tally]) -> bool:
        hard = sum(need == "hard" for need in self._needs(tallies).values())
        return self.begun is not None or (hard >= self.settings.hard_min_count and not self._gets_on_alone(tallies))

    def _gets_on_alone(self, tallies: Mapping[str, Tally]) -> bool:
        if self.settings.evolve_when == "hard" or self.assignment or self.begun is not None:
            return False
        return gets_on_alone(live_share(tallies.values()), self.live)

    def between_epochs(self, end: EpochEnd) -> None:
        """Collects the hard set, evolves templates for it, and assigns them to the next epoch."""
        if self.smoothed:
            self.help.add_epoch(end.tallies)
        needs = self._needs(end.tallies)
        hard = [i for i, need in needs.items() if need == "hard"]
        kept = [i for i, need in needs.items() if need == "kept"]
        live = None if self.assignment else live_share(end.tallies.values())
        alone, self.live = self._gets_on_alone(end.tallies), live
        self.assignment = {} if self.smoothed else {i: self.assignment[i] for i in kept}
        end.summary.kept = len(kept)
        rng = random.Random(f"{self.seed}:{end.next_epoch}")
        elsewhere = end.tools.elsewhere
        if elsewhere is not None and self.begun is not None:
            self._take_in(elsewhere.result(self.begun), end)
        self.begun = None
        if alone:
            end.summary.notes.append(alone_note(end.tallies.values()))
        elif len(hard) >= self.settings.hard_min_count:
            rng.shuffle(hard)
            texts = [t.text for t in self.templates]
            if elsewhere is None:
                self._take_in(self._evolve(Task(end.next_epoch, hard, texts), end), end)
            elif elsewhere.begin(Task(end.next_epoch + 1, hard, texts)):
                self.begun, end.summary.begun = end.next_epoch + 1, True
                end.summary.notes.append(NOTE)
        else:
            end.summary.notes.append(
                f"no evolution: hard samples {len(hard)}, fewer than hard_min_count {self.settings.hard_min_count}"
            )
        if self.smoothed:  # the places of the bare slots are drawn again
            self.assignment |= self._assign(kept, rng)
        if end.summary.evolved or self.settings.warm_start:
            self.assignment |= self._assign(hard, rng)

    def _evolve(self, task: Task, end: EpochEnd) -> Evolution:
        return evolve_on(task, self.settings, self.samples, self.seed, self.group_size, end.tools, end.folder)

    def _take_in(self, evolution: Evolution, end: EpochEnd) -> None:
        self.evolution, self.templates = evolution, pool_of(evolution, self.settings)
        note_evolution(end.summary, evolution, self.templates)

    def _needs(self, tallies: Mapping[str, Tally]) -> dict[str, Need]:
        """Sample id → what it needs next."""
        needs = needs_of(tallies, self.settings.withdrawal, self.settings.tau - 1)
        return self.help.decide(needs, self.assignment) if self.smoothed else needs

    def _assign(self, ids: Sequence[str], rng: random.Random) -> dict[str, list[str]]:
        least = self.settings.bare_slots or 0
        held = HeldAnswers(t.text for t in self.templates)
        leaking = {i: held.leaking(self.samples[i]) for i in ids}
        assigned = assign(
            ids,
            self.templates,
            self.group_size,
            rng,
            bare_slots=0 if self.smoothed else least,
            same_template=self.settings.same_template_in_sample,
            forbidden=lambda template, i: template in leaking[i],
        )
        if not self.smoothed:
            return assigned
        return {i: self.help.with_bare_slots(i, templates, least, rng) for i, templates in assigned.items()}

    def pool(self) -> list[dict[str, Any]]:
        return pool_to_json(self.templates)

    def state_dict(self) -> dict[str, Any]:
        pool = pool_to_json(self.templates)
        state = {**slots_by_number(self.assignment), "pool": pool, "live": self.live, "help": asdict(self.help)}
        return state if self.begun is None else {**state, "begun": self.begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.assignment = slots_by_text(state)
        self.templates = pool_from_json(state["pool"])
        self.live, self.help = state["live"], Help(**state["help"])
        self.begun = state.get("begun")
