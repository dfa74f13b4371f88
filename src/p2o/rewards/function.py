"""Reward functions of the user's own, of TRL and of other libraries."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from typing import Any, TypeVar

from ..base.loading import what_it_raised
from ..base.text import one_line
from ..core.samples import Message, Sample
from ..errors import RewardError
from .deadline import watched
from .score import Score

T = TypeVar("T")

TIMEOUT = 600.0  # seconds a call of a user's reward function may take; NCCL waits as long for the other ranks
NOT_GIVEN = ("completion", "completion_ids")
"""Columns of a data set that TRL does not pass to reward functions."""
CONTRACT = "a reward must be a number, a (number, feedback) pair or None"


class FunctionReward:
    """A reward function with TRL's signature.

    It may return, per completion, a number, a (number, feedback) pair, or None where it does not apply. NaN
    and infinity are taken as None and counted in ``not_scorable``. It may be a coroutine function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        solution_from_answer: bool = False,
        timeout: float = TIMEOUT,
    ) -> None:
        """``solution_from_answer``: pass the column ``answer`` as ``solution`` too, where TRL's own rewards look.
        ``timeout``: seconds after which a call is stopped with an error (0: never)."""
        self.function, self.name, self.timeout = function, name, timeout
        self.__name__ = name
        self.solution_from_answer = solution_from_answer
        self.not_scorable = 0

    def score(
        self,
        completions: Sequence[str],
        samples: Sequence[Sample],
        turns: Sequence[Sequence[Message]] | None = None,
        **context: Any,
    ) -> list[Score]:
        """One score for each completion. With several ``turns`` the function gets their messages, as in training.

        The function gets what TRL 1.16 gives it in training (``GRPOTrainer._calculate_rewards``): prompts,
        completions, the columns of the data set, ``trainer_state``, ``log_extra`` and ``log_metric``. What it logs
        as ``feedback`` becomes feedback.
        """
        names = dict.fromkeys(name for sample in samples for name in sample.columns if name not in NOT_GIVEN)
        columns = {name: [sample.columns.get(name) for sample in samples] for name in names}
        logged: defaultdict[str, list[Any]] = defaultdict(list)
        scores = self.call(
            prompts=[list(sample.messages) for sample in samples],
            completions=turns or [[{"role": "assistant", "content": text}] for text in completions],
            **{
                "completion_ids": None,
                **columns,
                "sample_id": [sample.id for sample in samples],
                "answer": [sample.answer for sample in samples],
                "trainer_state": _no_training(),
                "log_extra": lambda name, values: logged[name].extend(values),
                "log_metric": lambda name, value: None,
                **context,
            },
        )
        told = [texts for name, texts in logged.items() if name.endswith("feedback") and len(texts) == len(scores)]
        return [
            Score(score.reward, " ".join([score.feedback, *(str(texts[i]) for texts in told if texts[i])]))
            for i, score in enumerate(scores)
        ]

    def call(self, **arguments: Any) -> list[Score]:
        """Calls the function as TRL does, with ``prompts``, ``completions`` and columns.

        Raises:
            RewardError: it raises, takes longer than its time-out, or returns something else than one reward per
                completion.
        """
        count = len(arguments["completions"])
        if self.solution_from_answer and "answer" in arguments:
            arguments.setdefault("solution", arguments["answer"])
        with watched(self.name, self.timeout):
            try:
                values = self.function(**arguments)
                values = run_to_end(values) if inspect.isawaitable(values) else values
                listed = _as_list(values)
            except (Exception, SystemExit) as error:  # sys.exit() would end the run without a word
                raise RewardError(f"reward function {self.name!r} raised {what_it_raised(error)}") from error
        if listed is None:
            raise RewardError(
                f"reward function {self.name!r} returned {_kind(values)}; it must return a list with one reward per "
                "completion"
            )
        if len(listed) != count:
            raise RewardError(f"reward function {self.name!r} returned {len(listed)} rewards for {count} completions")
        return [self._score(value) for value in listed]

    def _score(self, value: Any) -> Score:
        feedback = None
        if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], str | None):
            value, feedback = value
        reward = None if value is None else self._number(value)
        if reward is None or not math.isfinite(reward):
            self.not_scorable += reward is not None
            return Score(None, feedback or "This completion cannot be scored.")
        return Score(reward, f"Reward: {reward:.3g}." if feedback is None else feedback)

    def _number(self, value: Any) -> float:
        """The value as a float: a Python number, or a scalar of numpy, torch and the like."""
        try:
            single = value.item() if hasattr(value, "item") else value
            if isinstance(single, int | float):
                return float(single)
        except Exception as error:  # whatever the object of a library raises
            raise RewardError(
                f"reward function {self.name!r} returned {_shown(value)}, which cannot be made a number "
                f"({one_line(f'{type(error).__name__}: {error}')}); {CONTRACT}"
            ) from error
        raise RewardError(f"reward function {self.name!r} returned {_shown(value)}; {CONTRACT}")


def _as_list(values: Any) -> list[Any] | None:
    """The items of a list, a generator, an array of one dimension; None for anything else."""
    fits = hasattr(values, "__iter__") and getattr(values, "ndim", 1) == 1
    return list(values) if fits and not isinstance(values, str | bytes | Mapping | Set) else None


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} of shape {tuple(shape)}" if shape else type(value).__name__


def _shown(value: Any) -> str:
    """A value as an error quotes it; its type where it cannot be printed."""
    try:
        return one_line(repr(value), 40)
    except Exception:  # an int of more than 4,300 digits, a broken __repr__
        return f"{_kind(value)} that cannot be printed"


def _no_training() -> Any:
    """The state of a trainer that has not begun, for functions that shape rewards by the step."""
    from transformers import TrainerState

    return TrainerState()


def run_to_end(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, also where an event loop is running already, as in a notebook."""

    async def wait() -> T:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(asyncio.run(wait()))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="reward", daemon=True).start()
    return done.result()
