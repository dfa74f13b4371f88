"""Reward functions of the user's own, of TRL and of other libraries."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..base.text import shorten
from ..core.samples import Sample
from ..errors import RewardError
from .deadline import watched
from .score import Score

TIMEOUT = 600.0  # seconds a call of a user's reward function may take; NCCL waits as long for the other ranks


class FunctionReward:
    """A reward function with TRL's signature.

    It may return, per completion, a number, a (number, feedback) pair, or None where it does not apply. NaN
    and infinity are taken as None and counted in ``not_scorable``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        solution_from_answer: bool = False,
        timeout: float = TIMEOUT,
    ) -> None:
        """``timeout``: seconds after which a call is stopped with an error (0: never)."""
        self.function, self.name, self.timeout = function, name, timeout
        self.__name__ = name
        self.solution_from_answer = solution_from_answer
        self.not_scorable = 0

    def score(self, completions: Sequence[str], samples: Sequence[Sample], **context: Any) -> list[Score]:
        names = dict.fromkeys(name for sample in samples for name in sample.columns)
        columns = {name: [sample.columns.get(name) for sample in samples] for name in names}
        return self.call(
            prompts=[list(sample.messages) for sample in samples],
            completions=[[{"role": "assistant", "content": text}] for text in completions],
            **{
                "completion_ids": None,
                **columns,
                "sample_id": [sample.id for sample in samples],
                "answer": [sample.answer for sample in samples],
                **context,
            },
        )

    def call(self, **arguments: Any) -> list[Score]:
        """Call the function as TRL does. Raises RewardError if it raises, or does not keep the contract."""
        count = len(arguments["completions"])
        if self.solution_from_answer and "answer" in arguments:
            arguments.setdefault("solution", arguments["answer"])
        with watched(self.name, self.timeout):
            try:
                values = self.function(**arguments)
                if inspect.iscoroutine(values):
                    values = asyncio.run(values)
            except Exception as error:
                raise RewardError(f"reward function {self.name!r} raised {type(error).__name__}: {error}") from error
        if not hasattr(values, "__len__") or isinstance(values, str | Mapping):
            raise RewardError(
                f"reward function {self.name!r} returned {type(values).__name__}; it must return a list "
                "with one reward per completion"
            )
        if len(values) != count:
            raise RewardError(f"reward function {self.name!r} returned {len(values)} rewards for {count} completions")
        return [self._score(value) for value in values]

    def _score(self, value: Any) -> Score:
        feedback = None
        if isinstance(value, tuple | list) and len(value) == 2:
            value, feedback = value
        if value is not None:
            value = value.item() if hasattr(value, "item") else value
            if not isinstance(value, int | float):
                raise RewardError(
                    f"reward function {self.name!r} returned {shorten(repr(value), 40)}; a reward must "
                    "be a number, a (number, feedback) pair or None"
                )
        if value is None or not math.isfinite(value):
            self.not_scorable += value is not None
            return Score(None, str(feedback or "This completion cannot be scored."))
        return Score(float(value), f"Reward: {value:.3g}." if feedback is None else str(feedback))
