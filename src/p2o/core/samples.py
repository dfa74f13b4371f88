"""What flows through the loop: samples and rollouts. No dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, Any]
"""A chat message: ``{"role": "system" | "user" | "assistant" | …, "content": C}``, where C is a text, or a list of
parts ``{"type": "text", "text": str}``."""


def content_text(content: Any) -> str:
    """The text of a message's content; "" for None. The text parts of a list are joined, as chat templates do it."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(str(part.get("text") or "") for part in content if part.get("type") == "text")


RIGHT_ANSWERS = "right_answers"
"""Name of the column that holds all right answers of a sample that has several."""


@dataclass(frozen=True)
class Sample:
    """One row of a data set under its stable id."""

    id: str
    messages: Sequence[Message]
    """The bare prompt as chat messages; the last user message carries the question."""
    answer: str | None = None
    """The gold answer as text, if the task has one. The leak guard looks for it in templates."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """All other columns of the row. Reward functions receive them."""
    place: str = field(default="", compare=False)
    """Where it was read from ("row 3 of train.jsonl"), for messages."""
    text: str | None = field(default=None, compare=False)
    """The prompt as plain text, for a model that takes no chats; None for a chat."""

    @property
    def answers(self) -> list[str]:
        """All right answers; empty when the task has none."""
        return list(self.columns.get(RIGHT_ANSWERS) or ([] if self.answer is None else [self.answer]))

    @property
    def prompt(self) -> str | Sequence[Message]:
        """The bare prompt as the policy takes it: plain text, or chat messages."""
        return self.messages if self.text is None else self.text

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return next((content_text(m["content"]) for m in reversed(self.messages) if m["role"] == "user"), "")


@dataclass(frozen=True)
class Rollout:
    """One completion of one sample, scored."""

    completion: str
    reward: float
    """The training reward (weighted sum over the reward functions)."""
    solved: bool
    """Whether the named reward reached the success threshold."""
    feedback: str = ""
    """The text about this completion that a reflector reads."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """None: not reported, so not measured."""
    fits: bool = True
    """False: the prompt left no room in the context, so nothing was drawn."""
    scored_tokens: int = 0
    """Tokens passed forward once more, for log-probs (``template_worth``)."""
    near: float | None = None
    """How near the policy was to the sample's solution (`p2o.core.nearness`); None: not measured."""


RolloutFn = Callable[[Sequence[tuple[str, Sample]]], list[Rollout]]
"""Rolls out (template, sample) pairs in one generation batch; "" is the bare prompt."""
