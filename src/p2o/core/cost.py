"""What a run costs: rollouts, tokens and seconds by phase.

Cost is counted in forward-equivalent tokens, so that methods can be compared at equal cost: a token that is read
(prompt), generated or scored counts 1, a token that is trained counts 3 (forward and backward).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol

from .samples import Rollout

Phase = Literal["rollout", "ratio", "train", "evolve", "reflect", "evaluate"]
PHASES: tuple[Phase, ...] = ("rollout", "ratio", "train", "evolve", "reflect", "evaluate")
TRAINED_TOKEN_COST = 3
UNMEASURED = {
    "unmeasured_texts": ("prompt_tokens", "generated_tokens", "cost"),
    "unmeasured_rollouts": ("prompt_tokens", "completion_tokens"),
    "unmeasured_replies": ("teacher_tokens", "reflector_prompt_tokens", "reflector_completion_tokens"),
}
"""What has no token counts → the counts in which they are missing."""


class Counted(Protocol):
    """A text with its token counts; None: not reported."""

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens read."""

    @property
    def completion_tokens(self) -> int | None:
        """Tokens written."""


def token_sums(texts: Sequence[Counted]) -> tuple[int, int, int]:
    """Tokens read and written for all texts together, and how many of the texts came without these counts."""
    read = sum(text.prompt_tokens or 0 for text in texts)
    written = sum(text.completion_tokens or 0 for text in texts)
    return read, written, sum(None in (text.prompt_tokens, text.completion_tokens) for text in texts)


@dataclass
class PhaseCost:
    """Counts of one phase over all processes; seconds are the main process's."""

    rollouts: int = 0
    prompt_tokens: int = 0
    """Tokens read as prompts during generation."""
    generated_tokens: int = 0
    scored_tokens: int = 0
    """Tokens passed forward only, for log-probs (the ratio pass, old log-probs)."""
    trained_tokens: int = 0
    """Tokens passed forward and backward."""
    teacher_tokens: int = 0
    """Prompt and generated tokens of a reflector that is not the policy; they are no part of the cost."""
    unmeasured_replies: int = 0
    """Replies of a reflector that is not the policy, whose tokens were not reported: they are missing above."""
    unmeasured_texts: int = 0
    """Rollouts, and replies of the policy as the reflector, whose tokens were not reported."""
    seconds: float = 0.0

    @property
    def cost(self) -> int:
        """Forward-equivalent tokens."""
        forward = self.prompt_tokens + self.generated_tokens + self.scored_tokens
        return forward + TRAINED_TOKEN_COST * self.trained_tokens

    def add(self, **counts: float) -> None:
        """Adds to the counts, each given by its name."""
        for name, value in counts.items():
            setattr(self, name, getattr(self, name) + value)

    def add_rollouts(self, rollouts: Sequence[Rollout]) -> None:
        """Counts rollouts that were drawn."""
        read, written, unmeasured = token_sums(rollouts)
        self.add(rollouts=len(rollouts), prompt_tokens=read, generated_tokens=written, unmeasured_texts=unmeasured)
        self.add(scored_tokens=sum(r.scored_tokens for r in rollouts))


class CostMeter:
    """Counts by phase; JSON-able through ``state_dict``."""

    def __init__(self) -> None:
        self.phases: dict[str, PhaseCost] = {phase: PhaseCost() for phase in PHASES}

    def __getitem__(self, phase: Phase) -> PhaseCost:
        return self.phases[phase]

    @contextmanager
    def timed(self, phase: Phase) -> Iterator[PhaseCost]:
        """Adds the seconds of a ``with`` block to a phase. Yields the phase's counts; the block may add to them."""
        start = time.perf_counter()
        try:
            yield self.phases[phase]
        finally:
            self.phases[phase].seconds += time.perf_counter() - start

    @property
    def total(self) -> PhaseCost:
        """All phases together."""
        total = PhaseCost()
        for phase in self.phases.values():
            total.add(**asdict(phase))
        return total

    @property
    def training_cost(self) -> int:
        """Forward-equivalent tokens of everything but evaluation."""
        return sum(c.cost for name, c in self.phases.items() if name != "evaluate")

    @property
    def training_rollouts(self) -> int:
        """Rollouts of everything but evaluation."""
        return sum(c.rollouts for name, c in self.phases.items() if name != "evaluate")

    def reaches(self, max_cost: float | None, max_rollouts: int | None) -> bool:
        """Whether a budget is spent; None is no limit."""
        return (max_cost is not None and self.training_cost >= max_cost) or (
            max_rollouts is not None and self.training_rollouts >= max_rollouts
        )

    def state_dict(self) -> dict[str, Any]:
        """The counts by phase, with the costs that follow from them; JSON-able."""
        rows: dict[str, Any] = {n: {**asdict(c), "cost": c.cost} for n, c in self.phases.items()}
        return {**rows, "training_cost": self.training_cost, "training_rollouts": self.training_rollouts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        names = {f.name for f in fields(PhaseCost)}
        for phase in PHASES:
            self.phases[phase] = PhaseCost(**{k: v for k, v in state[phase].items() if k in names})


def without_false_zeros(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts for a reader: None, not 0, where tokens were spent and none of them was reported.

    Args:
        counts: of all phases (`CostMeter.state_dict`), of one, or of an evolution (`EvolveCost` as a dict).
    """
    parts = {k: without_false_zeros(v) for k, v in counts.items() if isinstance(v, Mapping) and "cost" in v}
    unknown = {key for missing, keys in UNMEASURED.items() if counts.get(missing) for key in keys}
    if any(part["cost"] is None for part in parts.values()):
        unknown.add("training_cost")
    return {key: (value or None) if key in unknown else parts.get(key, value) for key, value in counts.items()}
