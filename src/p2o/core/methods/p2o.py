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
from typing import Any

from ...errors import ForeignEvolutionError
from ..credit import Credit, credit_of
from ..evolve import Evolution, evolve, leaks_answer
from ..hard import Tally, needs_of, split_hard
from ..metrics import note_evolution
from ..samples import Sample
from ..settings import LoopSettings
from ..states import Need
from ..templates import PoolTemplate, assign, make_pool, pool_from_json, pool_to_json
from ..worth import gets_on_alone, live_share
from .base import EpochEnd, Method
from .evolving import evolve_config, set_aside


class P2O(Method):
    """The paper's method; its ablations are settings (`p2o.core.settings.LoopSettings`)."""

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], group_size: int, seed: int) -> None:
        super().__init__(settings, samples, group_size, seed)
        self.templates: list[PoolTemplate] = []
        """The pool."""
        self.assignment: dict[str, list[str]] = {}
        """Sample id → its K templates in the running epoch."""
        self.evolution: Evolution | None = None
        """The last evolution of this process, kept to be shown."""
        self.live: float | None = None
        """Live share of the last epoch, if it was without templates (`p2o.core.worth`)."""

    def prompts(self, sample_id: str) -> Sequence[str]:
        return self.assignment.get(sample_id, ())

    def credit(self, epoch: int) -> Credit:
        return credit_of(self.settings, epoch)

    def rolls_out(self, tallies: Mapping[str, Tally]) -> bool:
        hard = sum(need == "hard" for need in self._needs(tallies).values())
        return hard >= self.settings.hard_min_count and not self._gets_on_alone(tallies)

    def _gets_on_alone(self, tallies: Mapping[str, Tally]) -> bool:
        if self.settings.evolve_when == "hard" or self.assignment:
            return False
        return gets_on_alone(live_share(tallies.values()), self.live)

    def between_epochs(self, end: EpochEnd) -> None:
        """Collects the hard set, evolves templates for it, and assigns them to the next epoch."""
        needs = self._needs(end.tallies)
        hard = [i for i, need in needs.items() if need == "hard"]
        live = None if self.assignment else live_share(end.tallies.values())
        alone, self.live = self._gets_on_alone(end.tallies), live
        self.assignment = {i: self.assignment[i] for i, need in needs.items() if need == "kept"}
        end.summary.kept = len(self.assignment)
        rng = random.Random(f"{self.seed}:{end.next_epoch}")
        if alone:
            end.summary.notes.append(
                f"no evolution yet: GRPO learns without templates ({live:.0%} of the groups not all solved are mixed)"
            )
        elif len(hard) >= self.settings.hard_min_count:
            rng.shuffle(hard)
            self.evolution = self._evolve(hard, end)
            self.templates = self._pool_of(self.evolution)
            note_evolution(end.summary, self.evolution, self.templates)
        else:
            end.summary.notes.append(
                f"no evolution: hard samples {len(hard)}, fewer than hard_min_count {self.settings.hard_min_count}"
            )
        if end.summary.evolved or self.settings.warm_start:
            self.assignment |= self._assign(hard, rng)

    def _needs(self, tallies: Mapping[str, Tally]) -> dict[str, Need]:
        """Sample id → what it needs next."""
        return needs_of(tallies, self.settings.withdrawal, self.settings.tau - 1)

    def _evolve(self, hard: Sequence[str], end: EpochEnd) -> Evolution:
        train_ids, dev_ids = split_hard(hard, self.settings.dev_size)
        folder = end.folder / f"evolution-{end.next_epoch:03d}"

        def run() -> Evolution:
            return evolve(
                train=[self.samples[i] for i in train_ids],
                dev=[self.samples[i] for i in dev_ids],
                rollout=end.tools.roll_out,
                reflector=end.tools.reflector,
                config=evolve_config(self.settings, seed=self.seed * 100_003 + end.next_epoch),
                run_dir=folder,
                progress=end.tools.progress,
                seeds=["", *(t.text for t in self.templates if t.text and self.settings.warm_start)],
            )

        try:
            return run()
        except ForeignEvolutionError:
            # A killed run left it: one without a checkpoint, or one whose steps the GPU did not repeat bit for bit.
            aside = set_aside(folder)
        evolution = run()
        evolution.warnings.append(
            f"{folder.name} was made with other samples or settings; it was renamed to {aside.name}"
        )
        return evolution

    def _pool_of(self, evolution: Evolution) -> list[PoolTemplate]:
        if self.settings.pool == "proposals":
            return [PoolTemplate(text, 1.0, frozenset(), scored=False) for text in evolution.proposals]
        return make_pool(evolution.templates, evolution.scores_CV, evolution.solved_CV, evolution.dev_ids)

    def _assign(self, hard: Sequence[str], rng: random.Random) -> dict[str, list[str]]:
        return assign(
            hard,
            self.templates,
            self.group_size,
            rng,
            bare_slots=self.settings.bare_slots or 0,
            same_template=self.settings.same_template_in_sample,
            forbidden=lambda template, i: leaks_answer(template, self.samples[i]),
        )

    def pool(self) -> list[dict[str, Any]]:
        return pool_to_json(self.templates)

    def state_dict(self) -> dict[str, Any]:
        return {"assignment": self.assignment, "pool": pool_to_json(self.templates), "live": self.live}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.assignment = {i: list(templates) for i, templates in state["assignment"].items()}
        self.templates = pool_from_json(state["pool"])
        self.live = state["live"]
