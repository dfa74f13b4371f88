"""The gate that draws where the comparison is undecided (`evolve_search: race`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..samples import Rollout, Sample
from ..templates import greedy_cover
from .config import EvolveConfig
from .front import Front
from .gates import Child, Gate, take
from .racing import Draws, group_chance, most_undecided, of_no_use, surely_worse
from .result import Candidate, Fate
from .scorer import Pair, Scorer
from .selection import rng_for, strictly_better

Value = Callable[[Rollout], float]
"""What a rollout counts in a comparison, from 0 to 1."""


class RaceGate(Gate):
    """Children race on the *open* samples of the dev part, on which something can be gained.

    Each child draws a few of them. Accepted are those that a greedy cover of the open samples needs; let go are those
    that are surely worse than the best. When none is accepted, half as many draws go to the undecided candidates, new
    and old, in the order of their upper bounds (`p2o.core.evolve.racing`). Those that are still undecided are drawn
    again in later iterations, and get what is left of the budget at the end, if nothing was found until then. So new
    proposals are tried first as long as there are any, and no rollout stays unspent while one of the old ones may
    succeed now and then.

    Where nothing was ever solved, or all that can be solved is, the reward decides: the best challenger is accepted
    when its mean dev reward is larger than the best one's. Where rewards are equal, nearness to the solutions decides,
    if it is measured.
    """

    def __init__(self, dev: Sequence[Sample], scorer: Scorer, front: Front, config: EvolveConfig) -> None:
        super().__init__(dev, scorer, front, config)
        self.undecided: dict[int, Candidate] = {}
        """Candidates that may still be accepted, by id."""

    def reserve(self, children: int) -> int:
        return 2 * children * self.config.minibatch + len(self.dev)

    def judge(self, children: Sequence[Child]) -> None:
        self.undecided |= {child.id: child for child, _ in children}
        self.seen |= {child.template for child, _ in children}
        chunk = self.config.minibatch
        drawn = self._draw([child.id for child, _ in children], chunk)
        if not self._settle():
            self._draw(self._order(), chunk, most=drawn // 2 or chunk * len(self.undecided))
            self._settle()

    def last_draws(self) -> None:
        while self.undecided and not self._any_success():
            counts = [len(self._rollouts(arm, self._open())) for arm in self.undecided.values()]
            if not self._draw(self._order(), max(self.config.minibatch, min(counts) // 2)):
                break
            self._settle()

    def nothing_to_gain(self) -> bool:
        return not self._open()

    # --- draws -----------------------------------------------------------------------------------------------

    def _unsolved(self) -> list[Sample]:
        """The dev samples that no template of the pool has solved."""
        return [s for s in self.dev if not any(self._solves(c.template, s) for c in self.front.pool)]

    def _open(self) -> list[Sample]:
        """The unsolved dev samples; when there are none, those on which the best template fails."""
        best = self.front.best().template
        return self._unsolved() or [s for s in self.dev if not self._solves(best, s)]

    def _solves(self, template: str, sample: Sample) -> bool:
        return any(map(self.config.is_success, self.scorer.drawn(template, sample)))

    def _room(self) -> int:
        return self.scorer.budget - self.scorer.cost.metric_calls

    def _draw(self, arms: Sequence[int], chunk: int, most: int | None = None) -> int:
        """Draws up to ``chunk`` open samples of each arm, in all at most ``most`` and what the budget pays for when it
        must pay for the dev scoring of one candidate too. Returns the number of draws."""
        room = max(0, self._room() - len(self.dev))
        fair = room // max(1, len(arms))  # every arm gets the same, even when the budget ends
        places = self._places()
        pairs = [pair for arm in arms for pair in self._next(self.undecided[arm], places, min(chunk, max(1, fair)))]
        return self.scorer.draw(pairs[: room if most is None else min(room, most)], "children")

    def _places(self) -> list[list[Sample]]:
        """The open samples, once for each draw of a sample, each time in another order (a rollout function may seed its
        draws by their order)."""
        samples = self._open()
        return [
            rng_for(self.config.seed, "race", turn).sample(samples, len(samples)) for turn in range(self.config.draws)
        ]

    def _next(self, arm: Candidate, places: Sequence[Sequence[Sample]], chunk: int) -> list[Pair]:
        """The next draws of a candidate: every sample once before any twice."""
        free = (
            (arm.template, sample)
            for turn, samples in enumerate(places)
            for sample in samples
            if len(self.scorer.drawn(arm.template, sample)) <= turn
        )
        out: list[Pair] = []
        for pair in free:
            if len(out) == chunk:
                break
            if self.scorer.may_draw(*pair):
                out.append(pair)
        return out

    def _rollouts(self, arm: Candidate, samples: Iterable[Sample]) -> list[Rollout]:
        return [r for s in samples for r in self.scorer.drawn(arm.template, s)]

    # --- comparison ------------------------------------------------------------------------------------------

    def _order(self) -> list[int]:
        """The undecided, those first that may gain most."""
        return most_undecided(
            self._draws(self._open(), self.config.is_success), self._draws(self.dev, self.config.is_success)
        )

    def _draws(self, samples: Sequence[Sample], value: Value) -> dict[int, Draws]:
        return {n: Draws.of([value(r) for r in self._rollouts(arm, samples)]) for n, arm in self.undecided.items()}

    def _settle(self) -> bool:
        """Accepts and lets go what the draws so far decide. Returns whether a candidate was accepted."""
        for arm in self.undecided.values():
            self._tell(arm)
        accepted = self._cover() or self._challenge() or self._approach()
        self._let_go()
        return accepted

    def _tell(self, arm: Candidate) -> None:
        """Writes into a candidate what it was compared on."""
        parent = self.parent_of(arm)
        samples = [s for s in self.dev if self.scorer.drawn(arm.template, s)]
        rollouts = self._rollouts(arm, samples)
        arm.minibatch = [s.id for s in samples]
        arm.scores, arm.parent_scores = self._rewards(arm.template, samples), self._rewards(parent, samples)
        arm.fate = "rejected"
        arm.reason = f"solved {sum(map(self.config.is_success, rollouts))} of {len(rollouts)} dev rollouts: undecided"

    def _rewards(self, template: str, samples: Iterable[Sample]) -> list[float]:
        return [r.reward for r in self.scorer.known_rollouts(template, list(samples))]

    def _cover(self) -> bool:
        """Accepts what a greedy cover of the unsolved samples needs, as far as the budget pays for it."""
        unsolved, arms = self._unsolved(), list(self.undecided.values())
        solved = [[self._solves(arm.template, s) for s in unsolved] for arm in arms]
        accepted: list[Candidate] = []
        for place in greedy_cover(solved):
            if self._pays_for([*accepted, arms[place]]):
                accepted.append(arms[place])
        take(self.front, self.scorer, self.dev, accepted)
        for arm in accepted:
            self._decide(arm, "accepted", "solves what the pool does not")
        return bool(accepted)

    def _challenge(self) -> bool:
        """Where no success decides: scores the candidate with the best mean reward on the whole dev part, if it is
        strictly better than the best template so far, and accepts it if it is better there too."""
        if not self.undecided or (self._unsolved() and self._any_success()):
            return False
        best, arm = self.front.best(), max(self.undecided.values(), key=lambda a: sum(a.scores) / max(1, len(a.scores)))
        samples = [s for s in self.dev if s.id in arm.minibatch]
        if not strictly_better(arm.scores, self._rewards(best.template, samples)) or not self._pays_for([arm]):
            return False
        self.scorer.score([(arm.template, s) for s in self.dev], "dev")
        better = strictly_better(self._rewards(arm.template, self.dev), self._rewards(best.template, self.dev))
        if better:
            take(self.front, self.scorer, self.dev, [arm])
        self._decide(arm, "accepted" if better else "rejected", f"{'' if better else 'not '}better than the best")
        return better

    def _approach(self) -> bool:
        """As long as no template has solved anything: scores the candidate that is nearest to the solutions on the
        whole dev part, if all of the pool is farther from them, and accepts it if that holds there too."""
        if not self.goes_by_nearness() or not self.undecided:
            return False

        def lead(arm: Candidate, samples: Sequence[Sample]) -> float:
            return self.near(arm.template, samples) - max(self.near(c.template, samples) for c in self.front.pool)

        seen = {arm.id: [s for s in self.dev if s.id in arm.minibatch] for arm in self.undecided.values()}
        arm = max(self.undecided.values(), key=lambda a: lead(a, seen[a.id]))
        if lead(arm, seen[arm.id]) <= 0 or not self._pays_for([arm]):
            return False
        self.scorer.score([(arm.template, s) for s in self.dev], "dev")
        nearer = lead(arm, self.dev) > 0
        if nearer:
            take(self.front, self.scorer, self.dev, [arm])
        self._decide(arm, "accepted" if nearer else "rejected", f"{'' if nearer else 'not '}nearer to the solutions")
        return nearer

    def _let_go(self) -> None:
        """Rejects those that are surely worse than the best: in the chance of a success in a group; where there never
        was a success, in their reward. Rejects those that are of no use, too."""
        best = self.scorer.known_rollouts(self.front.best().template, self.dev)
        value, worth = self._measure(best)
        worse = surely_worse(self._draws(self.dev, value), Draws.of([value(r) for r in best]), worth)
        for arm in worse:
            self._decide(self.undecided[arm], "rejected", "surely worse than the best")
        for arm in of_no_use(self._draws(self.dev, self.config.is_success), self.config.group):
            self._decide(self.undecided[arm], "rejected", "surely of no use")

    def _measure(self, best: Sequence[Rollout]) -> tuple[Value, Callable[[float], float]]:
        """(What a rollout counts, what a mean of these counts is worth)."""
        if self._any_success():
            return self.config.is_success, lambda p: group_chance(p, self.config.group)
        drawn = [r for arm in self.undecided.values() for r in self._rollouts(arm, self.dev)]
        rewards = [r.reward for r in (*best, *drawn)]
        low, span = min(rewards), (max(rewards) - min(rewards)) or 1.0
        return lambda r: (r.reward - low) / span, float

    def _any_success(self) -> bool:
        arms = (*self.front.pool, *self.undecided.values())
        return any(self._solves(arm.template, s) for arm in arms for s in self.dev)

    def _pays_for(self, arms: Sequence[Candidate]) -> bool:
        return len(self.scorer.missing((arm.template, s) for arm in arms for s in self.dev)) <= self._room()

    def _decide(self, arm: Candidate, fate: Fate, why: str) -> None:
        arm.fate, arm.reason = fate, arm.reason.replace("undecided", why)
        del self.undecided[arm.id]
