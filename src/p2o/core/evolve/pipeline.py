"""P²O's prompt step on the gepa library.

gepa drives, and calls `Pipeline` in this order, its methods standing in the same:

    evaluate          the seeds on the dev part                     one rollout call
    __call__          "stop?": ends the last iteration, plans the next
    sample_tasks      W parents, each with a minibatch
    batch_evaluate    all parents on their minibatches              one rollout call
    reflect_many      one reflector call; replies read and judged
    batch_evaluate    the children that are left, on the minibatches  one rollout call
    should_accept     strictly larger reward sum
    batch_evaluate    all accepted ones on the dev part             one rollout call

gepa keeps the pool and its Pareto front, in memory only: it is given no folder, so none of its pickles is
ever written or read. Its own count of metric calls knows no memory of scores; ours is `EvolveCost`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gepa.core.adapter import EvaluationBatch
from gepa.core.state import ValsetEvaluation
from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal
from gepa.strategies.proposal_sampling import ProposalTask

from ..samples import Rollout, Sample
from .asking import Asker
from .config import EvolveConfig
from .leak import LeakGuard
from .prompt import read_reply, reflection_prompt
from .reflector import ReflectionJob, Reply
from .result import Candidate, EvolveProgress
from .scorer import LEAKED, Scorer
from .selection import draw_minibatch, draw_parents, front_weights, rng_for, strictly_better

TEXT = "template"
"""The name of gepa's one component."""

_IDLE_ITERATIONS = 5  # so many in a row that cost no rollout: there is nothing new to be tried


class Pipeline:
    """One evolution: adapter, sampling, reflection, acceptance and stopping for ``gepa.optimize``."""

    propose_new_texts = None  # gepa asks every adapter for it

    def __init__(
        self,
        train: Sequence[Sample],
        dev: Sequence[Sample],
        seeds: Sequence[str],
        scorer: Scorer,
        asker: Asker,
        guard: LeakGuard,
        config: EvolveConfig,
        progress: Callable[[EvolveProgress], None],
    ) -> None:
        self.train, self.dev, self.seeds = train, dev, seeds
        self.scorer, self.asker, self.guard = scorer, asker, guard
        self.config, self.progress = config, progress
        self.candidates: list[Candidate] = []
        self.pool: list[Candidate] = []
        self.best_scores: list[float] = []
        self.warnings: list[str] = []
        self.stopped = ""
        self.iteration = 0
        self.phase = "seeds"
        self.tasks: list[Any] = []
        self.unused = list(range(len(train)))
        self.fresh: dict[str, Candidate] = {}
        self.failed_in_a_row = self.idle_in_a_row = 0
        self.charged_before = 0
        self.failure: Exception | None = None

    def evaluate(self, batch: Any, candidate: Mapping[str, str], capture_traces: bool = False) -> Any:
        """The seeds on the dev part, all in one call. gepa asks for the first alone, and only here."""
        pairs = [(t, s) for t in self.seeds for s in self.dev]
        first = self.scorer.score(pairs, "seeds")[: len(self.dev)]
        for template in self.seeds:
            self._join(self._add(template, None, "seed"))
        return _batch(self.dev, first)

    def __call__(self, state: Any) -> bool:
        """gepa's stop question, before each iteration."""
        if self.failure is not None:  # gepa swallows what a reflection raises
            raise self.failure
        if self.iteration == 0:
            for template in self.seeds[1:]:
                scores = [r.reward for r in self.dev_rollouts(template)]
                seed_scores = ValsetEvaluation({}, dict(enumerate(scores)))
                state.update_state_with_new_program([], {TEXT: template}, seed_scores, None, 0)
        self._end_iteration()
        self.stopped = self.stopped or self._plan(state)
        return bool(self.stopped)

    def sample_tasks(self, state: Any, selector: Any, sampler: Any, loader: Any) -> list[Any]:
        """The planned (parent, minibatch) tasks."""
        self.phase = "parents"
        return self.tasks

    def batch_evaluate(self, items: Sequence[tuple[Mapping[str, str], list[Sample]]], **_: Any) -> list[Any]:
        """All (template, samples) items in one rollout call."""
        rollouts = iter(self.scorer.score([(c[TEXT], s) for c, b in items for s in b], self.phase))
        out = [_batch(samples, [next(rollouts) for _ in samples]) for _, samples in items]
        if self.phase == "dev":
            for candidate in [c for c in self.fresh.values() if c.fate == "accepted"]:
                self._join(candidate)
        return out

    def make_reflective_dataset(self, candidate: Any, batch: Any, components: Any) -> dict[str, Any]:
        """A parent's rollouts, untouched."""
        return {TEXT: batch.trajectories}

    def reflect(self, *job: Any) -> tuple[Any, Pipeline]:
        """gepa's way out when `reflect_many` raises, which it does not."""
        return ReflectionProposal({}), self

    def reflect_many(self, jobs: Sequence[tuple[Any, Any, Any]]) -> list[tuple[Any, Pipeline]]:
        """One reflector call for all tasks; only proposals worth a rollout come back with a text."""
        self.phase, self.fresh = "children", {}
        texts: dict[int, str] = {}
        try:
            texts = self._reflect([records[TEXT] for _, records, _ in jobs])
        except Exception as e:
            self.failure = e
        return [(ReflectionProposal({TEXT: texts[i]} if i in texts else {}), self) for i in range(len(jobs))]

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """A strictly larger reward sum than the parent's on the same minibatch."""
        self.phase = "dev"
        candidate = self.fresh[proposal.candidate[TEXT]]
        candidate.scores = list(proposal.subsample_scores_after)
        better = strictly_better(candidate.scores, candidate.parent_scores)
        candidate.fate = "accepted" if better else "rejected"
        change = f"minibatch reward {sum(candidate.parent_scores):g} → {sum(candidate.scores):g}"
        candidate.reason = change if better else f"{change}: not strictly better"
        return better

    def dev_rollouts(self, template: str) -> list[Rollout]:
        """What is known of a template of the pool on the dev part (V rollouts)."""
        return [self.scorer.known.get((template, s.id), LEAKED) for s in self.dev]

    def _reflect(self, per_task: Sequence[Sequence[Mapping[str, Any]]]) -> dict[int, str]:
        jobs: dict[int, ReflectionJob] = {}
        for slot, rows in enumerate(per_task):
            scored = [(r["sample"], r["rollout"]) for r in rows if r["rollout"] is not LEAKED]
            if all(rollout.solved for _, rollout in scored):
                self.scorer.cost.perfect_minibatches += bool(scored)
                continue
            records = [(s.question, r.completion, r.feedback, r.reward) for s, r in scored]
            template = self.tasks[slot].parent_candidate[TEXT]
            prompt, cut = reflection_prompt(template, records, self.config.max_prompt_chars)
            self.scorer.cost.shortened_prompts += cut
            seed = rng_for(self.config.seed, "job", self.iteration, slot).getrandbits(32)
            jobs[slot] = ReflectionJob(template, records, seed, prompt)
        texts: dict[int, str] = {}
        silent = 0
        for slot, reply in self.asker.ask(self.iteration, jobs).items():
            template, fate, reason = self._judge(reply)
            candidate = self._add(template, self.pool[self.tasks[slot].parent_idx].id, fate, reason)
            candidate.minibatch = [s.id for s in self.tasks[slot].minibatch]
            candidate.parent_scores = [r["rollout"].reward for r in per_task[slot]]
            silent += fate in ("no_reply", "empty")
            if not fate:
                self.fresh[template] = candidate
                texts[slot] = template
        if jobs:
            self.failed_in_a_row = self.failed_in_a_row + 1 if silent == len(jobs) else 0
        return texts

    def _judge(self, reply: Reply) -> tuple[str, str, str]:
        """(template, fate, reason) of a reply; the fate is "" when it deserves a rollout."""
        if reply.error is not None or reply.text is None:
            return "", "no_reply", reply.error or "no text"
        template, fate, reason = read_reply(reply.text, self.config.max_template_chars)
        if fate:
            return template, fate, reason
        if template in self.fresh or any(template == c.template for c in self.pool):
            return template, "duplicate", "the same text is in the pool or among this iteration's proposals"
        leak = self.guard.refuse(template)
        return (template, "leak", leak) if leak else (template, "", "")

    def _add(self, template: str, parent: int | None, fate: str, reason: str = "") -> Candidate:
        candidate = Candidate(len(self.candidates), template, parent, self.iteration, fate, reason)
        self.candidates.append(candidate)
        return candidate

    def _join(self, candidate: Candidate) -> None:
        rewards = [r.reward for r in self.dev_rollouts(candidate.template)]
        candidate.dev_mean = sum(rewards) / len(rewards)
        self.pool.append(candidate)

    def _end_iteration(self) -> None:
        mine = [c for c in self.candidates if c.iteration == self.iteration]
        best = max(c.dev_mean for c in self.pool if c.dev_mean is not None)
        self.best_scores.append(best)
        accepted = sum(c.fate == "accepted" for c in mine)
        spent, limit = self.scorer.cost.metric_calls, self.scorer.budget
        self.progress(EvolveProgress(self.iteration, spent, limit, len(mine), accepted, len(self.pool), best))
        self.idle_in_a_row = self.idle_in_a_row + 1 if spent == self.charged_before else 0
        self.charged_before = spent
        if self.failed_in_a_row >= self.config.reflector_patience:
            self.stopped = "reflector"
            kinds = ", ".join(self.scorer.cost.reflector_failures) or "empty replies"
            self.warnings.append(
                f"The reflector failed on every job of {self.failed_in_a_row} iterations in a row ({kinds}): "
                f"the evolution ended early, after {self.iteration} iterations."
            )
        elif self.idle_in_a_row >= _IDLE_ITERATIONS:
            self.stopped = "idle"
            self.warnings.append(
                f"Nothing new to score in {self.idle_in_a_row} iterations in a row (proposals repeated or "
                "refused, or minibatches already solved): the evolution ended before its budget."
            )

    def _plan(self, state: Any) -> str:
        """Plan the next iteration so that its worst case fits into the budget; else say why to stop."""
        config = self.config
        if config.max_iterations is not None and self.iteration >= config.max_iterations:
            return "iterations"
        self.iteration += 1
        rng = rng_for(config.seed, "iteration", self.iteration)
        weights = front_weights(state.get_pareto_front_mapping())
        room = self.scorer.budget - self.scorer.cost.metric_calls
        pairs: list[tuple[str, Sample]] = []
        self.tasks = []
        for parent in draw_parents(weights, config.parents, rng, config.fill_proposals):
            ids, unused = draw_minibatch(self.unused, len(self.train), config.minibatch, rng)
            samples = [self.train[i] for i in ids]
            pairs += [(self.pool[parent].template, s) for s in samples]
            children = (len(self.tasks) + 1) * (len(ids) + len(self.dev))  # all new, all accepted
            if len(self.scorer.missing(pairs)) + children > room:
                break
            self.unused = unused
            self.tasks.append(ProposalTask(parent, {TEXT: self.pool[parent].template}, ids, samples))
        if self.tasks:
            return ""
        self.iteration -= 1
        return "budget"


def _batch(samples: Sequence[Sample], rollouts: Sequence[Rollout]) -> Any:
    """gepa's form of scored samples."""
    rows = [{"sample": s, "rollout": r} for s, r in zip(samples, rollouts, strict=True)]
    return EvaluationBatch([None] * len(rows), [r.reward for r in rollouts], rows)
