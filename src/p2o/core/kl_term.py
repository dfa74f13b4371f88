"""A KL term of the loss, between one policy on two prompts (see `p2o.core.divergence`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class KlTerm:
    """One more term of the loss: weight · mean over the batch's tokens of KL(π(· | T(x, z)) ‖ π(· | x)), which is not 0
    on the tokens of solved templated rollouts."""

    weight: float
    top_k: int
    """Tokens of the teacher's distribution that are kept."""
    clip: float
    """Largest KL of a token, in nats."""
    reverse: bool = False
    """KL(π(· | x) ‖ π(· | T(x, z))) instead."""
    teacher: Callable[[str], str] | None = None
    """Sample id → the scaffold z of the teacher alone: the term is on all rollouts; "" is none for this sample."""
    alone: bool = False
    """The rollouts that the term is for, solved or not, get no policy gradient."""
