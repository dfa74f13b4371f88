"""One rank's rows of a generation batch, from rollout to credit, and the groups of a batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.metrics import Group
from ..core.states import has_spread
from ..core.templates import apply_to_prompt

EngineLogps = Sequence[float | None]
"""An inference engine's log-probs of one completion's tokens; None if it gave none."""

Tokenize = Callable[[list[Any]], list[list[int]]]
"""Prompts → their token ids."""


@dataclass
class Batch:
    """The B rows of this rank. A list is empty until its step has filled it."""

    rows: list[dict[str, Any]]
    templates: list[str] = field(default_factory=list)
    """The template of each row's rollout; "" for a bare rollout."""
    templated_ids: list[list[int]] = field(default_factory=list)
    """Token ids of T(x, z) for each row; empty for bare rows."""
    drawn_logps: list[list[float]] = field(default_factory=list)
    """Log-probs of each rollout's tokens, recorded as they were sampled (transformers generation; else empty)."""
    solved: list[bool] = field(default_factory=list)
    spread_share: float = 0.0
    """Share of the groups of all ranks with a spread of rewards."""
    engine_logps: list[EngineLogps] = field(default_factory=list)
    """With vLLM: its log-probs of the rows drawn from T(x, z); empty for bare rows."""

    def put_templates(self, templates: Sequence[str], tokenize: Tokenize, limit: int | None) -> int:
        """Sets the rows' templates; a row whose T(x, z) is longer than ``limit`` tokens stays bare.

        Returns:
            Number of rows that stay bare because of the limit.
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
        """Token ids of the prompt from which each row is generated: T(x, z), or x."""
        return [templated or bare for templated, bare in zip(self.templated_ids, bare_ids, strict=True)]


@dataclass(frozen=True)
class RolloutFacts:
    """The facts about one rollout that all ranks know."""

    sample_id: str
    template: str
    completion: str
    reward: float
    """The reward that says what *solved* means; NaN is not scorable."""
    total: float
    """The weighted sum of the rewards. GRPO trains on it."""
    solved: bool


def groups_of(rows: Sequence[RolloutFacts], group_size: int) -> list[tuple[Group, Sequence[RolloutFacts]]]:
    """The groups of a batch of all ranks, in TRL's rank-major order: ``group_size`` rows in a row are a group."""
    groups = []
    for start in range(0, len(rows), group_size):
        own = rows[start : start + group_size]
        totals = [row.total for row in own]
        templated, solved = [bool(row.template) for row in own], [row.solved for row in own]
        groups.append((Group(own[0].sample_id, templated, solved, has_spread(totals), totals), own))
    return groups
