"""Which children an evolution takes into its pool: what a gate does, and the gate of GEPA and of the paper."""

from __future__ import annotations

from collections.abc import Sequence

from ..samples import Sample
from .config import EvolveConfig
from .front import Front
from .result import Candidate
from .scorer import Scorer
from .selection import strictly_better

Child = tuple[Candidate, Sequence[Sample]]
"""A new candidate, and the train samples on which its parent was rolled out."""


NOT_BETTER = "not strictly better"


class Gate:
    """Decides over the children of each iteration."""

    def __init__(self, dev: Sequence[Sample], scorer: Scorer, front: Front, config: EvolveConfig) -> None:
        self.dev, self.scorer, self.front, self.config = dev, scorer, front, config
        self.seen: set[str] = set()
        """Templates that need not be proposed again."""

    def reserve(self, children: int) -> int:
        """Rollouts that the budget must have left for the children of an iteration."""
        raise NotImplementedError

    def judge(self, children: Sequence[Child]) -> None:
        """Sets the children's fates, and adds the accepted ones to the front."""
        raise NotImplementedError

    def parent_of(self, child: Candidate) -> str:
        """The template that a child was made from."""
        return next(c.template for c in self.front.pool if c.id == child.parent)

    def near(self, template: str, samples: Sequence[Sample]) -> float:
        """Mean nearness of a template on samples of which rollouts are known; a solved one is as near as can be."""
        rollouts = self.scorer.known_rollouts(template, samples)
        return sum(1.0 if r.solved else r.near or 0.0 for r in rollouts) / max(1, len(rollouts))

    def goes_by_nearness(self) -> bool:
        """Whether nearness is measured and nothing but it tells templates apart yet."""
        return self.config.nearness and not self.scorer.helped

    def last_draws(self) -> None:
        """Spends what is left of the budget on candidates that are undecided, if nothing was found."""

    def nothing_to_gain(self) -> bool:
        """Whether no template can be better than those in the pool."""
        return False


class MinibatchGate(Gate):
    """GEPA's: accepted is a child whose reward sum on its parent's minibatch, one draw each, is strictly larger.

    As long as no template has solved anything, a child is also accepted if it is nearer to the solutions
    (`p2o.core.nearness`, if it is measured) and earns no less than its parent's failed rollouts.
    """

    def reserve(self, children: int) -> int:
        return children * (self.config.minibatch + len(self.dev))

    def judge(self, children: Sequence[Child]) -> None:
        rollouts = iter(self.scorer.score([(c.template, s) for c, samples in children for s in samples], "children"))
        for child, samples in children:
            child.scores = [next(rollouts).reward for _ in samples]
            better = strictly_better(child.scores, child.parent_scores)
            nearer = not better and self._is_nearer(child, samples)
            child.fate = "accepted" if better or nearer else "rejected"
            change = f"minibatch reward {sum(child.parent_scores):g} → {sum(child.scores):g}"
            child.reason = change if better else f"{change}: {'nearer to the solutions' if nearer else NOT_BETTER}"
        take(self.front, self.scorer, self.dev, [child for child, _ in children if child.fate == "accepted"])

    def _is_nearer(self, child: Candidate, samples: Sequence[Sample]) -> bool:
        if not self.goes_by_nearness():
            return False
        parent = self.parent_of(child)
        failed = sum(r.reward for r in self.scorer.known_rollouts(parent, samples) if not r.solved)
        return sum(child.scores) >= failed and self.near(child.template, samples) > self.near(parent, samples)


def take(front: Front, scorer: Scorer, dev: Sequence[Sample], accepted: Sequence[Candidate]) -> None:
    """Scores accepted candidates on the whole dev part, in one rollout call, and adds them to the front."""
    scorer.score([(c.template, s) for c in accepted for s in dev], "dev")
    for c in accepted:
        front.add(c, [r.reward for r in scorer.known_rollouts(c.template, dev)])
