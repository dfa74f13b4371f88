"""P²O's prompt step (GEPA) as one loop, in the order in which things happen:

_score_seeds         the seeds on the dev part                              one rollout call
and in each iteration:
_plan                up to W parents from the Pareto front, each with a minibatch
_roll_out_parents    all parents on their minibatches                       one rollout call
_reflect             all proposals in one reflector call; bad ones are refused
_compare             the children that are left, on the minibatches         one rollout call
_score_accepted      those with a strictly larger reward sum, on the dev part  one rollout call
_close               progress, and the counts that decide when to stop
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..samples import Rollout, Sample
from .asking import Asker
from .config import EvolveConfig
from .front import Front
from .leak import LeakGuard
from .prompt import reflection_prompt
from .reading import read_reply
from .reflector import ReflectionJob, Reply
from .result import Candidate, EvolveProgress, Fate
from .scorer import LEAKED, Scorer
from .selection import draw_minibatch, draw_parents, front_weights, rng_for, strictly_better

IDLE_ITERATIONS = 5
"""The evolution ends after this many iterations in a row without a new rollout."""


@dataclass(frozen=True)
class Task:
    """One proposal to be made: a parent, and the train samples on which its child is compared with it."""

    parent: Candidate
    minibatch: Sequence[Sample]


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
        self._failed_in_a_row = self._idle_in_a_row = 0

    def run(self, seeds: Sequence[str]) -> str:
        """Evolves until there is a reason to stop, and returns it: "budget", "iterations", "reflector" or "idle"."""
        iteration = self._score_seeds(seeds)
        while True:
            self._close(iteration)
            if reason := self._reason_to_stop(iteration):
                return reason
            iteration = self._plan(iteration.number + 1)
            if not iteration.tasks:
                return "budget"
            self._roll_out_parents(iteration)
            self._reflect(iteration)
            self._compare(iteration)
            self._score_accepted(iteration)

    def _score_seeds(self, seeds: Sequence[str]) -> Iteration:
        iteration = Iteration(0, self.scorer.cost.metric_calls)
        self.scorer.score([(template, s) for template in seeds for s in self.dev], "seeds")
        for template in seeds:
            self._add_to_pool(self._add_candidate(iteration, template, None, "seed"))
        return iteration

    def _plan(self, number: int) -> Iteration:
        """The tasks of an iteration: as many as the budget pays for, even if all children are new and accepted."""
        iteration = Iteration(number, self.scorer.cost.metric_calls)
        rng = rng_for(self.config.seed, "iteration", number)
        weights = front_weights(self.front.best_by_sample())
        room = self.scorer.budget - self.scorer.cost.metric_calls
        parent_pairs: list[tuple[str, Sample]] = []
        for place in draw_parents(weights, self.config.parents, rng, self.config.fill_proposals):
            parent = self.front.pool[place]
            picked, unused = draw_minibatch(self._unused, len(self.train), self.config.minibatch, rng)
            minibatch = [self.train[i] for i in picked]
            parent_pairs += [(parent.template, s) for s in minibatch]
            children_cost = (len(iteration.tasks) + 1) * (len(minibatch) + len(self.dev))
            if len(self.scorer.missing(parent_pairs)) + children_cost > room:
                break
            self._unused = unused
            iteration.tasks.append(Task(parent, minibatch))
        return iteration

    def _roll_out_parents(self, iteration: Iteration) -> None:
        groups = [(task.parent.template, task.minibatch) for task in iteration.tasks]
        iteration.parent_rollouts = self._score(groups, "parents")

    def _reflect(self, iteration: Iteration) -> None:
        jobs = {place: job for place in range(len(iteration.tasks)) if (job := self._job(iteration, place))}
        proposals = [
            self._propose(iteration, place, reply) for place, reply in self.asker.ask(iteration.number, jobs).items()
        ]
        if proposals:
            silent = all(c.fate in ("no_reply", "empty") for c in proposals)
            self._failed_in_a_row = self._failed_in_a_row + 1 if silent else 0

    def _compare(self, iteration: Iteration) -> None:
        """The children on their parents' minibatches."""
        groups = [(child.template, iteration.tasks[place].minibatch) for place, child in iteration.children.items()]
        for child, rollouts in zip(iteration.children.values(), self._score(groups, "children"), strict=True):
            child.scores = [r.reward for r in rollouts]
            better = strictly_better(child.scores, child.parent_scores)
            child.fate = "accepted" if better else "rejected"
            change = f"minibatch reward {sum(child.parent_scores):g} → {sum(child.scores):g}"
            child.reason = change if better else f"{change}: not strictly better"

    def _score_accepted(self, iteration: Iteration) -> None:
        accepted = [child for child in iteration.children.values() if child.fate == "accepted"]
        self._score([(child.template, self.dev) for child in accepted], "dev")
        for child in accepted:
            self._add_to_pool(child)

    def _close(self, iteration: Iteration) -> None:
        spent = self.scorer.cost.metric_calls
        self._idle_in_a_row = self._idle_in_a_row + 1 if spent == iteration.spent_before else 0
        self.best_scores.append(self.front.best_mean())
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
        if self._failed_in_a_row >= self.config.reflector_patience:
            self.warnings.append(
                f"The reflector failed on every job of {self._failed_in_a_row} iterations in a row "
                f"({self.scorer.cost.failures() or 'empty replies'}): "
                f"the evolution ended early, after iteration {iteration.number}."
            )
            return "reflector"
        if self._idle_in_a_row >= IDLE_ITERATIONS:
            self.warnings.append(
                f"Nothing new to score in {self._idle_in_a_row} iterations in a row (proposals repeated or "
                "refused, or minibatches already solved): the evolution ended before its budget."
            )
            return "idle"
        limit = self.config.max_iterations
        return "iterations" if limit is not None and iteration.number >= limit else ""

    def _job(self, iteration: Iteration, place: int) -> ReflectionJob | None:
        """The reflector's job for one task; None when the parent solved the whole minibatch."""
        task = iteration.tasks[place]
        rollouts = zip(task.minibatch, iteration.parent_rollouts[place], strict=True)
        scored = [(s, r) for s, r in rollouts if r is not LEAKED]
        if all(r.solved for _, r in scored):
            self.scorer.cost.perfect_minibatches += bool(scored)
            return None
        records = [(s.question, r.completion, r.feedback, r.reward) for s, r in scored]
        prompt, shortened = reflection_prompt(task.parent.template, records, self.config.max_prompt_chars)
        self.scorer.cost.shortened_prompts += shortened
        seed = rng_for(self.config.seed, "job", iteration.number, place).getrandbits(32)
        return ReflectionJob(task.parent.template, records, seed, prompt)

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
        if any(template == c.template for c in (*self.front.pool, *iteration.children.values())):
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
