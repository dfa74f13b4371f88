"""P²O's prompt step (GEPA) as one loop, in the order in which things happen:

_score_seeds         the seeds on the dev part                              one rollout call
and in each iteration:
_plan                up to W parents from the Pareto front, each with a minibatch
_roll_out_parents    all parents on their minibatches                       one rollout call
_reflect             all proposals in one reflector call; bad ones are refused
gate.judge           the children that are left against their parents; the accepted ones on the dev part  two
                     rollout calls (`p2o.core.evolve.gates`, `p2o.core.evolve.race`)
_close               progress, and the counts that decide when to stop
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..samples import Rollout, Sample
from .asking import Asker
from .breeding import draw_failures, draw_partner
from .config import EvolveConfig
from .front import Front
from .gates import Gate, MinibatchGate
from .leak import LeakGuard
from .prompt import reflection_prompt
from .race import RaceGate
from .reading import read_reply
from .reflector import ReflectionJob, Reply
from .result import Candidate, EvolveProgress, Fate
from .scorer import LEAKED, Scorer
from .selection import draw_minibatch, draw_parents, front_weights, rng_for
from .stopping import Stopping


@dataclass(frozen=True)
class Task:
    """One proposal to be made: a parent, and the train samples on which its child is compared with it."""

    parent: Candidate
    minibatch: Sequence[Sample]
    partner: str = ""
    """A second parent's template, which solves other samples."""


@dataclass
class Iteration:
    """The state of one iteration."""

    number: int
    """0 for the seeds, then from 1."""
    spent_before: int
    """Metric calls made before this iteration."""
    tasks: list[Task] = field(default_factory=list)
    parent_rollouts: list[list[Rollout]] = field(default_factory=list)
    """For each task, the parent's rollouts on the minibatch."""
    children: dict[int, Candidate] = field(default_factory=dict)
    """Index of a task → its proposal, for those that are worth a rollout."""


class Pipeline:
    """One evolution. `run` carries it out; the attributes hold the result.

    Attributes:
        candidates: every candidate so far, refused ones too.
        front: the pool (seeds and accepted candidates) and its Pareto front.
        best_scores: best mean dev reward after the seeds, then after each iteration.
        warnings: sentences for the user.
    """

    def __init__(
        self,
        train: Sequence[Sample],
        dev: Sequence[Sample],
        scorer: Scorer,
        asker: Asker,
        guard: LeakGuard,
        config: EvolveConfig,
        progress: Callable[[EvolveProgress], None],
    ) -> None:
        self.train, self.dev = train, dev
        self.scorer, self.asker, self.guard = scorer, asker, guard
        self.config, self.progress = config, progress
        self.candidates: list[Candidate] = []
        self.front = Front()
        self.best_scores: list[float] = []
        self.warnings: list[str] = []
        self._unused = list(range(len(train)))  # train samples that no minibatch of this round has had
        self._stopping = Stopping(config)
        self._races = config.search == "race"
        gate = RaceGate if self._races else MinibatchGate
        self.gate: Gate = gate(dev, scorer, self.front, config)

    def run(self, seeds: Sequence[str]) -> str:
        """Evolves until there is a reason to stop, and returns it (`Evolution.stopped`)."""
        iteration = self._score_seeds(seeds)
        while True:
            self._close(iteration)
            reason = self._reason_to_stop(iteration)
            if not reason:
                iteration = self._plan(iteration.number + 1)
                reason = "" if iteration.tasks else "budget"
            if reason:
                self.gate.last_draws()
                self.best_scores[-1] = self.front.best_mean()
                return reason
            self._roll_out_parents(iteration)
            self._reflect(iteration)
            self.gate.judge([(c, iteration.tasks[place].minibatch) for place, c in iteration.children.items()])

    def _score_seeds(self, seeds: Sequence[str]) -> Iteration:
        iteration = Iteration(0, self.scorer.cost.metric_calls)
        self.scorer.score([(template, s) for template in seeds for s in self.dev], "seeds")
        for template in seeds:
            self._add_to_pool(self._add_candidate(iteration, template, None, "seed"))
        return iteration

    def _plan(self, number: int) -> Iteration:
        """The tasks of an iteration: as many as the budget pays for, if each brings a new template."""
        iteration = Iteration(number, self.scorer.cost.metric_calls)
        rng = rng_for(self.config.seed, "iteration", number)
        weights = front_weights(self.front.best_by_sample())
        room = self.scorer.budget - self.scorer.cost.metric_calls
        parent_pairs: list[tuple[str, Sample]] = []
        for place in draw_parents(weights, self.config.parents, rng, self.config.fill_proposals):
            parent = self.front.pool[place]
            picked, unused = self._draw_minibatch(parent.template, rng)
            minibatch = [self.train[i] for i in picked]
            parent_pairs += [(parent.template, s) for s in minibatch]
            children_cost = self.gate.reserve(len(iteration.tasks) + 1)
            if len(self.scorer.missing(parent_pairs)) + children_cost > room:
                break
            self._unused = unused
            iteration.tasks.append(Task(parent, minibatch, self._draw_partner(place, rng)))
        return iteration

    def _draw_minibatch(self, template: str, rng: random.Random) -> tuple[list[int], list[int]]:
        """Places of train samples, and what is unused after them."""
        if not self._races:
            return draw_minibatch(self._unused, len(self.train), self.config.minibatch, rng)
        seen = {
            n: self.config.is_success(drawn[0])
            for n, s in enumerate(self.train)
            if (drawn := self.scorer.drawn(template, s))
        }
        solved, failed = ({n for n, one in seen.items() if one is solved} for solved in (True, False))
        return draw_failures(self._unused, solved, failed, len(self.train), self.config.minibatch, rng)

    def _draw_partner(self, place: int, rng: random.Random) -> str:
        """The template of a second parent, or ""."""
        if not self._races:
            return ""
        partner = draw_partner(self._solved_dev(), place, rng)
        return "" if partner is None else self.front.pool[partner].template

    def _solved_dev(self) -> list[set[int]]:
        """The dev samples that each template of the pool solves, by their places."""
        rows = [self.scorer.known_rollouts(c.template, self.dev) for c in self.front.pool]
        return [{n for n, r in enumerate(row) if self.config.is_success(r)} for row in rows]

    def _roll_out_parents(self, iteration: Iteration) -> None:
        groups = [(task.parent.template, task.minibatch) for task in iteration.tasks]
        iteration.parent_rollouts = self._score(groups, "parents")

    def _reflect(self, iteration: Iteration) -> None:
        jobs = {place: job for place in range(len(iteration.tasks)) if (job := self._job(iteration, place))}
        proposals = [
            self._propose(iteration, place, reply) for place, reply in self.asker.ask(iteration.number, jobs).items()
        ]
        if proposals:
            self._stopping.hear(all(c.fate in ("no_reply", "empty") for c in proposals))

    def _close(self, iteration: Iteration) -> None:
        spent = self.scorer.cost.metric_calls
        self.best_scores.append(self.front.best_mean())
        solved = set[int]().union(*self._solved_dev())
        self._stopping.see(spent > iteration.spent_before, (self.best_scores[-1], len(solved)))
        proposed = [c for c in self.candidates if c.iteration == iteration.number]
        self.progress(
            EvolveProgress(
                iteration=iteration.number,
                metric_calls=spent,
                budget=self.scorer.budget,
                proposed=len(proposed),
                accepted=sum(c.fate == "accepted" for c in proposed),
                pool=len(self.front.pool),
                best_score=self.best_scores[-1],
                best_template=self.front.best().template,
            )
        )

    def _reason_to_stop(self, iteration: Iteration) -> str:
        if self.gate.nothing_to_gain():
            return "solved"
        reason, warning = self._stopping.reason(iteration.number, self.scorer.cost.failures())
        self.warnings += [warning] if warning else []
        return reason

    def _job(self, iteration: Iteration, place: int) -> ReflectionJob | None:
        """The reflector's job for one task; None when the parent solved the whole minibatch."""
        task = iteration.tasks[place]
        rollouts = zip(task.minibatch, iteration.parent_rollouts[place], strict=True)
        scored = [(s, r) for s, r in rollouts if r is not LEAKED]
        if all(self.config.is_success(r) for _, r in scored):
            self.scorer.cost.perfect_minibatches += bool(scored)
            return None
        records = [(s.question, r.completion, r.feedback, r.reward) for s, r in scored]
        prompt, shortened = reflection_prompt(task.parent.template, records, self.config.max_prompt_chars, task.partner)
        self.scorer.cost.shortened_prompts += shortened
        seed = rng_for(self.config.seed, "job", iteration.number, place).getrandbits(32)
        return ReflectionJob(task.parent.template, records, seed, prompt, task.partner)

    def _propose(self, iteration: Iteration, place: int, reply: Reply) -> Candidate:
        """The candidate in a reply. One that is worth a rollout becomes a child of the iteration."""
        template, fate, reason = self._read(iteration, reply)
        task = iteration.tasks[place]
        candidate = self._add_candidate(iteration, template, task.parent.id, fate, reason)
        candidate.minibatch = [s.id for s in task.minibatch]
        candidate.parent_scores = [r.reward for r in iteration.parent_rollouts[place]]
        if not fate:
            iteration.children[place] = candidate
        return candidate

    def _read(self, iteration: Iteration, reply: Reply) -> tuple[str, Fate, str]:
        """(template, fate, reason) of a reply; the fate is "" when the template is worth a rollout."""
        if reply.error is not None or reply.text is None:
            return "", "no_reply", f"{reply.error}: {reply.reason}" if reply.reason else reply.error or "no text"
        template, fate, reason = read_reply(reply.text, self.config.max_template_chars)
        if fate:
            return template, fate, f"{reason} ({reply.reason})" if reply.reason else reason
        known = {c.template for c in (*self.front.pool, *iteration.children.values())}
        if template in known or template in self.gate.seen:
            return template, "duplicate", "the same text is in the pool or among this iteration's proposals"
        leak = self.guard.refuse(template)
        return (template, "leak", leak) if leak else (template, "", "")

    def _score(self, groups: Sequence[tuple[str, Sequence[Sample]]], phase: str) -> list[list[Rollout]]:
        """The rollouts of each (template, samples) group, in one rollout call."""
        rollouts = iter(self.scorer.score([(t, s) for t, samples in groups for s in samples], phase))
        return [[next(rollouts) for _ in samples] for _, samples in groups]

    def _add_candidate(
        self, iteration: Iteration, template: str, parent: int | None, fate: Fate, reason: str = ""
    ) -> Candidate:
        candidate = Candidate(len(self.candidates), template, parent, iteration.number, fate, reason)
        self.candidates.append(candidate)
        return candidate

    def _add_to_pool(self, candidate: Candidate) -> None:
        self.front.add(candidate, [r.reward for r in self.scorer.known_rollouts(candidate.template, self.dev)])
