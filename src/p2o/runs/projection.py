"""What a run is going to cost against plain GRPO, from measured lengths. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.cost import TRAINED_TOKEN_COST
from ..core.evolve import budget

if TYPE_CHECKING:
    from ..trl.config import P2OConfig


@dataclass(frozen=True)
class Tokens:
    """Mean lengths in tokens."""

    prompt: float
    completion: float
    templated_prompt: float | None = None
    templated_completion: float | None = None


@dataclass(frozen=True)
class Projection:
    """Rollouts and forward-equivalent tokens of a whole run. The first epoch's hard share is held throughout, so
    P²O's side is an upper estimate: what graduates costs no more."""

    epochs: float
    live: float
    """Share of groups with spread on the bare prompt, which are all that GRPO trains."""
    grpo_rollouts: float
    grpo_cost: float
    p2o_rollouts: float
    p2o_cost: float

    @property
    def extra_rollouts(self) -> float:
        return self.p2o_rollouts / self.grpo_rollouts - 1

    @property
    def extra_cost(self) -> float:
        return self.p2o_cost / self.grpo_cost - 1


def project(training: P2OConfig, samples: int, hard: float, live: float, tokens: Tokens) -> Projection:
    """Projects a run.

    Args:
        samples: in the training data.
        hard: share of hard samples.
        live: share of groups with spread; only those are trained (``skip_dead_rows``).
        tokens: without templated lengths, those of the bare prompt.
    """
    epochs, K = training.num_train_epochs, training.num_generations
    bare = tokens.prompt + tokens.completion
    completion = tokens.templated_completion or tokens.completion
    templated = (tokens.templated_prompt or tokens.prompt) + completion
    group = K * (bare + TRAINED_TOKEN_COST * (live if training.skip_dead_rows else 1.0) * bare)
    # A templated group is generated under T(x, z), scored under both prompts, and trained on x.
    on_x = tokens.prompt + completion
    templated_group = K * (templated + on_x + templated + TRAINED_TOKEN_COST * on_x)
    steps = max(0.0, epochs - 1)
    evolves = hard * samples >= training.hard_min_count
    dev_size = max(1, min(training.dev_size, int(hard * samples / 2)))
    evolution = budget(training.evolve_budget, dev_size) if evolves else 0
    saved = hard * samples * steps if evolves else 0.0
    grpo = epochs * samples * group
    return Projection(
        epochs=epochs,
        live=live,
        grpo_rollouts=epochs * samples * K,
        grpo_cost=grpo,
        p2o_rollouts=epochs * samples * K + steps * evolution,
        # Hard groups are almost all dead on the bare prompt: generated, but not trained.
        p2o_cost=grpo + saved * (templated_group - K * bare) + steps * evolution * templated,
    )
