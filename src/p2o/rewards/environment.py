"""The reward that an environment gives itself (TRL's ``get_reward``)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ..core.samples import Sample
from .function import FunctionReward, run_to_end
from .score import Score


class EnvironmentReward:
    """The reward of all rollouts in environments of one class; the others get none.

    Args:
        name: of the class, and of the reward, as in TRL.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def score(
        self, completions: Sequence[str], samples: Sequence[Sample], environments: Sequence[Any] = (), **context: Any
    ) -> list[Score]:
        """One score for each completion, from the environment in which it was drawn."""
        own = FunctionReward(lambda completions: [self._reward(e) for e in environments], self.name, timeout=0)
        return own.call(completions=list(completions))

    def _reward(self, environment: Any) -> Any:
        if type(environment).__name__ != self.name:
            return None
        reward: Any = environment.get_reward()
        return run_to_end(reward) if inspect.isawaitable(reward) else reward
