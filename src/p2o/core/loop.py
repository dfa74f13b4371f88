"""The joint loop without an engine: ledger → hard set → evolve → pool → assignment.

A trainer (TRL, verl) asks it for the template of each rollout slot, tells it what every group earned, and gives it
a way to roll out for the prompt step between two epochs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ..base.files import write_json
from ..errors import ForeignEvolutionError
from .evolve import Evolution, EvolveConfig, EvolveProgress, Reflector, evolve, leaks_answer
from .hard import HardLedger, Withdrawal, dead_groups, split_hard
from .samples import RolloutFn, Sample
from .templates import PoolTemplate, assign, make_pool, pool_from_json, pool_to_json

Progress = Callable[[EvolveProgress], None]


class LoopSettings(Protocol):
    """What the loop reads of a trainer's configuration (see `p2o.trl.config.P2OConfig` for the meaning)."""

    method: Any
    seed: int
    num_generations: int
    tau: int
    hard_min_count: int
    dev_size: int
    success_threshold: float
    withdrawal: Any
    bare_slots: Any
    same_template_in_sample: bool
    pool: Any
    warm_start: bool
    evolve_budget: str
    evolve_parents: int
    evolve_minibatch: int
    evolve_max_iterations: Any
    fill_proposals: bool
    max_template_chars: int
    reflect_max_prompt_chars: int


@dataclass
class EpochSummary:
    """What one epoch's rollouts said, and what the prompt step after it did. JSON-able."""

    epoch: int
    """The epoch whose rollouts are summed up, from 0."""
    groups: int = 0
    all_failed: int = 0
    all_solved: int = 0
    bare_success: float | None = None
    """Share of the bare rollouts that were solved; None without bare rollouts."""
    templated_success: float | None = None
    paired_bare_success: float | None = None
    """Of the samples that were rolled out both ways (bare slots): success of their bare rollouts."""
    paired_templated_success: float | None = None
    """Of the same samples: success of their templated rollouts."""
    hard: int = 0
    """Samples that go into the prompt step."""
    kept: int = 0
    """Samples that keep their templates (``graduated`` rule)."""
    rescued: int = 0
    """Samples that had a template and were solved under it."""
    graduated: int = 0
    """Samples solved bare after having needed a template, at any time."""
    templated_next: int = 0
    """Samples with templates in the next epoch."""
    evolved: bool = False
    candidates: int = 0
    """Templates that were proposed or were seeds, whatever became of them."""
    accepted: int = 0
    helping: int = 0
    """Templates that solved at least one dev sample."""
    iterations: int = 0
    pool: int = 0
    best_template: str = ""
    best_dev_score: float | None = None
    covered: int = 0
    """Dev samples that the pool solves."""
    dev_size: int = 0
    evolve_cost: dict[str, Any] = field(default_factory=dict)
    """What the evolution spent (see `p2o.core.evolve.EvolveCost`); empty without one."""
    notes: list[str] = field(default_factory=list)


class JointLoop:
    """State of the loop and its transitions; identical on all processes.

    Args:
        settings: a trainer's configuration.
        samples: all training samples by id.
        run_dir: directory for the evolutions' own files.
    """

    def __init__(self, settings: LoopSettings, samples: Mapping[str, Sample], run_dir: Path) -> None:
        self.settings = settings
        self.samples = samples
        self.run_dir = run_dir
        self.ledger = HardLedger(settings.success_threshold)
        self.assignment: dict[str, list[str]] = {}
        self.pool: list[PoolTemplate] = []
        self.needed: set[str] = set()
        self.graduated: set[str] = set()
        self.next_epoch = 1
        """The epoch before which the next prompt step is due."""

    def template(self, sample_id: str, slot: int) -> str:
        """The template of a rollout slot in the running epoch; "" is the bare prompt."""
        templates = self.assignment.get(sample_id)
        return templates[slot % len(templates)] if templates else ""

    def record(self, sample_id: str, rewards: Sequence[float], templated: Sequence[bool]) -> None:
        """Adds what one group earned, see `HardLedger.record`."""
        self.ledger.record(sample_id, rewards, templated)

    def summarize(self) -> EpochSummary:
        """Counts of the epoch that has just ended; marks the samples that graduated in it."""
        tallies = self.ledger.tallies
        bare = sum(t.bare for t in tallies.values())
        templated = sum(t.templated for t in tallies.values())
        self.graduated |= {i for i in self.needed if i in tallies and tallies[i].bare_solved}
        groups = dead_groups(tallies.values())
        both = [t for t in tallies.values() if t.bare and t.templated]
        paired_bare, paired_templated = sum(t.bare for t in both), sum(t.templated for t in both)
        return EpochSummary(
            epoch=self.next_epoch - 1,
            groups=groups["groups"],
            all_failed=groups["all_failed"],
            all_solved=groups["all_solved"],
            bare_success=sum(t.bare_solved for t in tallies.values()) / bare if bare else None,
            templated_success=sum(t.templated_solved for t in tallies.values()) / templated if templated else None,
            paired_bare_success=sum(t.bare_solved for t in both) / paired_bare if both else None,
            paired_templated_success=sum(t.templated_solved for t in both) / paired_templated if both else None,
            rescued=sum(t.templated_solved > 0 for t in tallies.values()),
            graduated=len(self.graduated),
        )

    def prompt_step(
        self, roll_out: RolloutFn, reflector: Reflector | None, progress: Progress | None = None
    ) -> EpochSummary:
        """Closes the epoch: mines the hard set, evolves templates for it and assigns them to the next epoch."""
        settings, epoch = self.settings, self.next_epoch
        summary = self.summarize()
        standings = self.ledger.standings(settings.withdrawal, settings.tau - 1)
        hard = [i for i, standing in standings.items() if standing == "hard"]
        self.assignment = {i: self.assignment[i] for i, s in standings.items() if s == "kept"}
        summary.hard, summary.kept = len(hard), len(self.assignment)
        if settings.method == "p2o":
            rng = random.Random(f"{settings.seed}:{epoch}")
            if len(hard) >= settings.hard_min_count:
                rng.shuffle(hard)
                evolution = self._evolve(hard, epoch, roll_out, reflector, progress)
                self._note(summary, evolution)
            else:
                summary.notes.append(
                    f"{len(hard)} hard samples, fewer than hard_min_count {settings.hard_min_count}: no evolution"
                )
            if summary.evolved or settings.warm_start:
                self.assignment |= self._assign(hard, rng)
        self.needed |= set(self.assignment)
        summary.templated_next = len(self.assignment)
        self._write(summary)
        self.ledger.clear()
        self.next_epoch = epoch + 1
        return summary

    def close(self, write: bool = True) -> EpochSummary:
        """Sums up the last epoch, after which no prompt step follows.

        Args:
            write: whether this process writes the epoch's file (one of them should).
        """
        summary = self.summarize()
        summary.hard = len(self.ledger.hard_ids(self.settings.tau - 1))
        if write:
            self._write(summary)
        return summary

    def evolution_is_due(self) -> bool:
        """Whether the next prompt step will evolve templates."""
        settings = self.settings
        standings = self.ledger.standings(settings.withdrawal, settings.tau - 1).values()
        return settings.method == "p2o" and sum(s == "hard" for s in standings) >= settings.hard_min_count

    def _evolve(
        self,
        hard: Sequence[str],
        epoch: int,
        roll_out: RolloutFn,
        reflector: Reflector | None,
        progress: Progress | None,
    ) -> Evolution:
        if reflector is None:
            raise ValueError("the prompt step needs a reflector")
        settings = self.settings
        train_ids, dev_ids = split_hard(hard, settings.dev_size)
        seeds = ["", *(t.text for t in self.pool if t.text)] if settings.warm_start else [""]
        folder = self.run_dir / f"evolution-{epoch:03d}"
        run = partial(
            evolve,
            train=[self.samples[i] for i in train_ids],
            dev=[self.samples[i] for i in dev_ids],
            rollout=roll_out,
            reflector=reflector,
            config=evolve_config(settings, seed=settings.seed * 100_003 + epoch),
            run_dir=folder,
            progress=progress,
            seeds=seeds,
        )
        try:
            return run()
        except ForeignEvolutionError:
            # Left by a run that was killed without a checkpoint, or whose steps a GPU did not repeat to the bit.
            aside = set_aside(folder)
        evolution = run()
        evolution.warnings.append(f"{folder.name} was of other samples or settings; it is now {aside.name}")
        return evolution

    def _note(self, summary: EpochSummary, evolution: Evolution) -> None:
        if self.settings.pool == "proposals":
            self.pool = [PoolTemplate(text, 1.0, frozenset()) for text in evolution.proposals]
        else:
            self.pool = make_pool(evolution.templates, evolution.scores_CV, evolution.solved_CV, evolution.dev_ids)
        summary.evolved = True
        summary.candidates, summary.iterations = len(evolution.candidates), len(evolution.best_scores) - 1
        summary.accepted = evolution.fates.get("accepted", 0)
        summary.helping = sum(
            bool(text) and any(row) for text, row in zip(evolution.templates, evolution.solved_CV, strict=True)
        )
        summary.pool, summary.dev_size = len(self.pool), len(evolution.dev_ids)
        summary.covered = len(frozenset().union(*(t.solves for t in self.pool)))
        summary.evolve_cost = asdict(evolution.cost)
        summary.notes += evolution.warnings
        best = max((t for t in self.pool if t.text), key=lambda t: t.weight, default=None)
        if best is None:
            summary.notes.append("no template solved any hard sample: the next epoch runs without templates")
        else:
            summary.best_template, summary.best_dev_score = best.text, best.weight

    def _assign(self, hard: Sequence[str], rng: random.Random) -> dict[str, list[str]]:
        return assign(
            hard,
            self.pool,
            self.settings.num_generations,
            rng,
            bare_slots=self.settings.bare_slots,
            same_template=self.settings.same_template_in_sample,
            forbidden=lambda template, i: leaks_answer(template, self.samples[i]),
        )

    def _write(self, summary: EpochSummary) -> None:
        """One file per epoch, so that a replayed epoch overwrites its own and nothing stands twice."""
        write_json(
            self.run_dir / f"epoch-{summary.epoch:03d}.json",
            {
                "summary": asdict(summary),
                "tallies": self.ledger.state_dict()["tallies"],
                "pool": pool_to_json(self.pool),
                "assignment": self.assignment,
            },
        )

    def forget_later_epochs(self) -> None:
        """Removes the epoch files that an earlier run wrote after the point from which this one goes on."""
        for path in self.run_dir.glob("epoch-*.json"):
            number = path.stem.rpartition("-")[2]
            if number.isdigit() and int(number) >= self.next_epoch - 1:
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        return {
            "ledger": self.ledger.state_dict(),
            "assignment": self.assignment,
            "pool": pool_to_json(self.pool),
            "needed": sorted(self.needed),
            "graduated": sorted(self.graduated),
            "next_epoch": self.next_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ledger.load_state_dict(state["ledger"])
        self.assignment = {i: list(templates) for i, templates in state["assignment"].items()}
        self.pool = pool_from_json(state["pool"])
        self.needed, self.graduated = set(state["needed"]), set(state["graduated"])
        self.next_epoch = int(state["next_epoch"])


def set_aside(folder: Path) -> Path:
    """Renames a folder to the first free ``NAME-old-N``."""
    aside = next(p for n in count(1) if not (p := folder.with_name(f"{folder.name}-old-{n}")).exists())
    return folder.rename(aside)


def evolve_config(settings: LoopSettings, seed: int) -> EvolveConfig:
    """The evolution's part of a trainer's configuration."""
    return EvolveConfig(
        budget=int(settings.evolve_budget) if settings.evolve_budget.isdigit() else settings.evolve_budget,
        parents=settings.evolve_parents,
        minibatch=settings.evolve_minibatch,
        fill_proposals=settings.fill_proposals,
        max_iterations=settings.evolve_max_iterations,
        seed=seed,
        max_template_chars=settings.max_template_chars,
        max_prompt_chars=settings.reflect_max_prompt_chars,
    )


__all__ = ["EpochSummary", "JointLoop", "LoopSettings", "Withdrawal", "evolve_config"]
