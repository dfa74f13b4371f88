"""One rank's rows of a generation batch, from rollout to credit; and what its groups say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.metrics import Group
from ..core.states import has_spread
from ..core.templates import apply_to_prompt

EngineLogps = Sequence[float | None]
"""An inference engine's log-probs of one completion's tokens; None where it has none."""

Tokenize = Callable[[list[Any]], list[list[int]]]
"""Prompts → their token ids."""


@dataclass
class Batch:
    """B rows of this rank. Lists are empty until their step has filled them."""

    rows: list[dict[str, Any]]
    templates: list[str] = field(default_factory=list)
    """The template of each row's rollout; "" is bare."""
    templated_ids: list[list[int]] = field(default_factory=list)
    """Token ids of T(x, z) for each row; empty for bare rows."""
    drawn_logps: list[list[float]] = field(default_factory=list)
    """The log-probs that each rollout's tokens had when they were drawn (transformers generation; else empty)."""
    solved: list[bool] = field(default_factory=list)
    engine_logps: list[EngineLogps] = field(default_factory=list)
    """With vLLM: its log-probs of the rows drawn from T(x, z); empty for bare rows."""

    def put_templates(self, templates: Sequence[str], tokenize: Tokenize, limit: int | None) -> int:
        """Sets the rows' templates; a row whose T(x, z) is longer than ``limit`` tokens stays bare.

        Returns:
            How many rows stay bare for that reason.
        """
        self.templates = list(templates)
        self.templated_ids = [[] for _ in self.rows]
        templated = [n for n, template in enumerate(templates) if template]
        if not templated:
            return 0
        ids = tokenize([apply_to_prompt(templates[n], self.rows[n]["prompt"]) for n in templated])
        for n, row_ids in zip(templated, ids, strict=True):
            if limit is None or len(row_ids) <= limit:
                self.templated_ids[n] = list(row_ids)
            else:
                self.templates[n] = ""
        return len(templated) - sum(map(bool, self.templates))

    def prompts_to_draw_from(self, bare_ids: Sequence[list[int]]) -> list[list[int]]:
        """Token ids of the prompt that each row is drawn from: T(x, z), or x."""
        return [templated or bare for templated, bare in zip(self.templated_ids, bare_ids, strict=True)]


@dataclass(frozen=True)
class RolloutFacts:
    """What is known of one rollout on all ranks."""

    sample_id: str
    template: str
    completion: str
    reward: float
    """The reward that says what *solved* means; NaN is not scorable."""
    total: float
    """The weighted sum, on which GRPO trains."""
    solved: bool


def groups_of(rows: Sequence[RolloutFacts], group_size: int) -> list[tuple[Group, Sequence[RolloutFacts]]]:
    """The groups of a batch of all ranks, in TRL's rank-major order: ``group_size`` rows in a row are a group."""
    groups = []
    for start in range(0, len(rows), group_size):
        own = rows[start : start + group_size]
        spread = has_spread([row.total for row in own])
        groups.append((Group(own[0].sample_id, [bool(r.template) for r in own], [r.solved for r in own], spread), own))
    return groups
