"""verl's reward functions, as rewards of a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .function import run_to_end


def with_trl_signature(function: Callable[..., Any]) -> Callable[..., list[Any]]:
    """A reward function of verl (``data_source, solution_str, ground_truth, extra_info`` of one rollout) with TRL's
    signature (columns of a batch). Of a dictionary the ``score`` is the reward, and ``feedback`` is told, as on verl.

    Args:
        function: may be a coroutine function.
    """

    def score(
        completions: Sequence[Sequence[Mapping[str, Any]]],
        answer: Sequence[str | None],
        data_source: Sequence[Any] | None = None,
        reward_model: Sequence[Any] | None = None,
        extra_info: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[Any]:
        nothing = [None] * len(completions)
        rows = zip(
            completions, answer, data_source or nothing, reward_model or nothing, extra_info or nothing, strict=True
        )
        return [_score(function, *row) for row in rows]

    return score


def _score(
    function: Callable[..., Any],
    messages: Sequence[Mapping[str, Any]],
    answer: str | None,
    source: Any,
    reward_model: Any,
    extra: Any,
) -> Any:
    value = function(
        data_source=source,
        solution_str="".join(str(message.get("content") or "") for message in messages),
        ground_truth=(reward_model or {}).get("ground_truth", answer),
        extra_info=dict(extra or {}),
    )
    value = run_to_end(value) if inspect.isawaitable(value) else value
    return (value["score"], value.get("feedback")) if isinstance(value, Mapping) else value
