"""The pool of an evolution and its Pareto front, kept by the gepa library in memory (no file of its own)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gepa.core.state import GEPAState, ValsetEvaluation

from .result import Candidate

_COMPONENT = "template"
"""gepa evolves several texts, each with a name; here there is only one."""


class Front:
    """Seeds and accepted candidates in their order, and the best of them on each dev sample."""

    def __init__(self) -> None:
        self.pool: list[Candidate] = []
        self._state: GEPAState | None = None

    def add(self, candidate: Candidate, rewards_V: Sequence[float]) -> None:
        """Takes a candidate into the pool, with its rewards on the V dev samples."""
        candidate.dev_mean = sum(rewards_V) / len(rewards_V)
        program = {_COMPONENT: candidate.template}
        scores = ValsetEvaluation(outputs_by_val_id={}, scores_by_val_id=dict(enumerate(rewards_V)))
        if self._state is None:
            self._state = GEPAState(program, scores)
        else:
            parents = [place for place, c in enumerate(self.pool) if c.id == candidate.parent]
            self._state.update_state_with_new_program(parents, program, scores, None, 0)
        self.pool.append(candidate)

    def best_by_sample(self) -> Mapping[object, set[int]]:
        """Dev sample → places in the pool of the candidates with the best reward on it."""
        return self._state.get_pareto_front_mapping() if self._state else {}

    def best(self) -> Candidate:
        """The first of the pool with the best mean dev reward."""
        return max(self.pool, key=lambda c: -math.inf if c.dev_mean is None else c.dev_mean)

    def best_mean(self) -> float:
        """The best mean dev reward in the pool."""
        mean = self.best().dev_mean
        assert mean is not None  # a seed is scored first
        return mean
