"""Settings of one evolution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...errors import ConfigError
from ..samples import Rollout
from .leak import LeakConfig

Search = Literal["minibatch", "race"]

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
    """Train samples on which a parent is rolled out, and its child is compared with it; in a race, dev samples of a
    candidate's next draws."""
    search: Search = "minibatch"
    """How children are compared: `p2o.core.evolve.gates` (minibatch) or `p2o.core.evolve.race` (race)."""
    group: int = 6
    """K of the training: a race asks for the chance that a group of K rollouts holds a success."""
    draws: int = 1
    """Most rollouts of a candidate on one dev sample in a race; 1 where rollouts are greedy, so that a second one would
    be the first again."""
    least_success: float | None = None
    """A solved rollout of a smaller reward does not count as a success. Where rewards are weighted by what carries over
    to the bare prompt (`p2o.core.transfer`), a template that does not would hide one that does."""
    nearness: bool = False
    """Whether templates are compared by `p2o.core.nearness` as long as none has solved anything."""
    patience: int | None = None
    """Stop when in this many iterations in a row neither the best mean dev reward has grown nor the number of dev
    samples that the pool solves; they are counted from the first success."""
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
        for name in ("parents", "minibatch", "max_template_chars", "max_prompt_chars", "reflector_patience", "group",
                     "draws", "patience"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"the evolution's {name} is {value}; it must be at least 1")
        if self.max_prompt_chars < LEAST_PROMPT_CHARS:
            raise ConfigError(
                f"the evolution's max_prompt_chars is {self.max_prompt_chars}; it must be at least {LEAST_PROMPT_CHARS}"
            )

    def is_success(self, rollout: Rollout) -> bool:
        """Whether a rollout counts as a success (see ``least_success``)."""
        return rollout.solved and (self.least_success is None or rollout.reward >= self.least_success)
