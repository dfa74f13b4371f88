"""The result of an evolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

PHASES = ("seeds", "parents", "children", "dev")
Fate = Literal[
    "", "seed", "accepted", "rejected", "duplicate", "leak", "empty", "no_fence", "ambiguous", "unclosed_reasoning",
    "too_long", "no_reply",
]  # fmt: skip
"""What happened to a candidate; "" as long as that is not decided. "seed" and "accepted" are in the pool."""


@dataclass
class Candidate:
    """One template that was proposed, or a seed."""

    id: int
    """Its place in `Evolution.candidates`."""
    template: str
    parent: int | None
    """The parent's id; None for a seed."""
    iteration: int
    """0 for seeds, then from 1."""
    fate: Fate
    """Only "seed" and "accepted" are in the pool, and scored on the dev part."""
    reason: str = ""
    minibatch: list[str] = field(default_factory=list)
    """Ids of the train samples on which it was compared with its parent."""
    parent_scores: list[float] = field(default_factory=list)
    """The parent's rewards on the minibatch."""
    scores: list[float] = field(default_factory=list)
    """Its own rewards on the minibatch (empty when it was refused before any rollout)."""
    dev_mean: float | None = None
    """Mean reward over the dev part."""


@dataclass
class EvolveCost:
    """All that an evolution spent. A resumed evolution counts the same as one that was not interrupted."""

    metric_calls: int = 0
    """Scored rollouts, each charged once against the budget (the seeds' dev scoring included)."""
    rollouts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    """`metric_calls` by phase: seeds, parents, children, dev."""
    generation_calls: int = 0
    """Calls of the rollout function."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens of the rollouts, as the rollout function counted them."""
    scored_tokens: int = 0
    """Tokens passed forward once more, for log-probs (``template_worth``)."""
    unmeasured_rollouts: int = 0
    """Rollouts whose tokens were not reported; the two counts above are of the others."""
    no_room: int = 0
    """Rollouts whose prompt left no room for a completion in the model's context; they count as 0."""
    reused_scores: int = 0
    """Scores that were known already and cost nothing."""
    leaked_scores: int = 0
    """Scores set to 0 without a rollout, because the template holds the sample's answer."""
    reflector_calls: int = 0
    reflector_failures: dict[str, int] = field(default_factory=dict)
    """Failed calls by kind ("timeout", "auth", …)."""
    reflector_reasons: dict[str, str] = field(default_factory=dict)
    """Kind of failure → the reason of the first one."""
    reflector_prompt_tokens: int = 0
    reflector_completion_tokens: int = 0
    unmeasured_replies: int = 0
    """Replies whose tokens were not reported; the two counts above are of the others."""
    shortened_prompts: int = 0
    """Reflection prompts whose texts were shortened to fit."""
    perfect_minibatches: int = 0
    """Proposals not made because the parent solved its whole minibatch."""

    def failures(self) -> str:
        """The failed calls by kind, for a sentence: "2× timeout, 1× auth (HTTP 401: wrong key)"."""
        said = {kind: f" ({reason})" for kind, reason in self.reflector_reasons.items() if reason}
        return ", ".join(f"{n}× {kind}{said.get(kind, '')}" for kind, n in self.reflector_failures.items())


@dataclass(frozen=True)
class EvolveProgress:
    """The state of an evolution after its seeds (iteration 0) and after each iteration."""

    iteration: int
    metric_calls: int
    budget: int
    proposed: int
    """Proposals of this iteration, refused ones included."""
    accepted: int
    """Accepted ones of this iteration."""
    pool: int
    """Templates in the pool so far."""
    best_score: float
    """Best mean dev reward so far."""
    best_template: str = ""
    """The template that has it."""


@dataclass
class Evolution:
    """The result. C counts the pool (seeds and accepted candidates, in order), V the dev samples."""

    candidates: list[Candidate]
    """Every candidate proposed."""
    templates: list[str]
    """C templates of the pool."""
    parents: list[int | None]
    """C indices into the pool (not ids): the parent of each template; None for seeds."""
    scores_CV: list[list[float]]
    """Rewards of each template of the pool on each dev sample."""
    solved_CV: list[list[bool]]
    dev_ids: list[str]
    train_ids: list[str]
    budget: int
    cost: EvolveCost
    best_scores: list[float]
    """Best mean dev reward after the seeds, then after each iteration."""
    stopped: str
    """Why it ended: "budget", "iterations", "reflector", "idle", "patience" or "solved" (no template can be better)."""
    warnings: list[str] = field(default_factory=list)
    """What went wrong, for the user to read."""
    near_C: list[float] = field(default_factory=list)
    """Mean nearness of each template of the pool on the dev part (`p2o.core.nearness`); empty: not measured."""

    @property
    def fates(self) -> dict[str, int]:
        """Fate → number of candidates."""
        counts: dict[str, int] = {}
        for c in self.candidates:
            counts[c.fate] = counts.get(c.fate, 0) + 1
        return counts

    @property
    def proposals(self) -> list[str]:
        """The templates that a reflector wrote and that could be used, whether or not they were accepted."""
        return list(dict.fromkeys(c.template for c in self.candidates if c.fate in ("accepted", "rejected")))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evolution:
        """The inverse of `to_dict`."""
        own = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        own["candidates"] = [Candidate(**c) for c in data["candidates"]]
        own["cost"] = EvolveCost(**data["cost"])
        return cls(**own)
