"""Settings of one evolution."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import ConfigError
from .leak import LeakConfig

LEAST_PROMPT_CHARS = 3000
"""The fixed part of the reflection prompt has about 1,000 characters; the rest is for tasks, outputs and judgements."""


@dataclass(frozen=True)
class EvolveConfig:
    """Settings of one evolution (P²O's prompt step, GEPA)."""

    budget: str | int = "light"
    """Metric calls: a name of `p2o.core.evolve.budget`, or a number. Every scored rollout is one call; an
    evolution never makes more."""
    parents: int = 16
    """W: the most proposals in one iteration, each from its own parent."""
    minibatch: int = 3
    """Train samples on which a parent and its child are compared."""
    fill_proposals: bool = False
    """Whether parents are drawn more than once while the front is smaller than W, each time with a new minibatch.
    Early generation batches are then full. The paper does not do this."""
    max_iterations: int | None = None
    """Stop after this number of iterations, even if budget is left."""
    seed: int = 0
    """All choices follow from the seed and the iteration's number."""
    max_template_chars: int = 4000
    """A longer proposal is refused ("too_long")."""
    max_prompt_chars: int = 12000
    """Reflection prompts are kept below this by shortening outputs in the middle (counted)."""
    reflector_patience: int = 3
    """The evolution ends when every reflector call failed in this number of iterations in a row."""
    leak: LeakConfig = field(default_factory=LeakConfig)
    """What makes a template a leak."""

    def __post_init__(self) -> None:
        for name in ("parents", "minibatch", "max_template_chars", "max_prompt_chars", "reflector_patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"the evolution's {name} is {getattr(self, name)}; it must be at least 1")
        if self.max_prompt_chars < LEAST_PROMPT_CHARS:
            raise ConfigError(
                f"the evolution's max_prompt_chars is {self.max_prompt_chars}; it must be at least {LEAST_PROMPT_CHARS}"
            )
