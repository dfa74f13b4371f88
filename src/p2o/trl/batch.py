"""One rank's rows of a generation batch, from rollout to credit, and the groups of a batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..core.given import Given
from ..core.metrics import Group
from ..core.states import has_spread
from ..core.templates import apply_to_prompt
from ..core.turns import Calls
from ..generation.row_ids import RowIds

EngineLogps = Sequence[float | None]
"""An inference engine's log-probs of one completion's tokens; None if it gave none."""

Tokenize = Callable[[list[Any]], list[list[int]]]
"""Prompts → their token ids."""


class TokenLogps:
    """Log-probs of a batch's completions, put in turn by turn. A tool's tokens have None."""

    def __init__(self) -> None:
        self.rows: dict[int, list[float | None]] = {}

    def __bool__(self) -> bool:
        return any(self.rows.values())

    def put(self, rows: Sequence[int], places: Sequence[int], logps: Sequence[EngineLogps]) -> None:
        """Adds a turn of some rows.

        Args:
            places: where in each row's completion the turn begins, in tokens.
            logps: of the turn's tokens; empty if nothing is known.
        """
        for row, place, new in zip(rows, places, logps, strict=False):
            if new:
                held = self.rows.get(row, [])
                self.rows[row] = [*held[:place], *[None] * (place - len(held)), *new]

    def of(self, row: int, width: int, unknown: float) -> list[float]:
        """At most ``width`` log-probs of a row; ``unknown`` where there is none."""
        return [unknown if p is None else p for p in self.rows.get(row, [])[:width]]


@dataclass
class Batch:
    """The B rows of this rank. A list is empty until its step has filled it."""

    rows: list[dict[str, Any]]
    templates: list[str] = field(default_factory=list)
    """The template of each row's rollout; "" for a bare rollout."""
    templated_ids: list[list[int]] = field(default_factory=list)
    """Token ids of T(x, z) for each row; empty for bare rows."""
    teacher_ids: list[list[int]] = field(default_factory=list)
    """Token ids of each row's prompt for a teacher that drew nothing (`p2o.core.credit.KlTerm`); empty: it has none."""
    given_ids: dict[int, list[int]] = field(default_factory=dict)
    """Row → token ids of its completion, of the rows that are given one (`p2o.core.given`)."""
    bare_lengths: list[int] = field(default_factory=list)
    """Tokens of each row's bare prompt."""
    drawn_logps: TokenLogps = field(default_factory=TokenLogps)
    """Log-probs of each rollout's tokens, recorded as they were sampled (transformers generation; else empty)."""
    solved: list[bool] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    """The groups of all ranks, in TRL's rank-major order."""
    engine_logps: TokenLogps = field(default_factory=TokenLogps)
    """With vLLM: its log-probs of the rows drawn from T(x, z)."""

    def put_templates(
        self, templates: Sequence[str], prompts: Sequence[Any], tokenize: Tokenize, limit: int | None
    ) -> int:
        """Sets the rows' templates; a row whose T(x, z) is longer than ``limit`` tokens stays bare.

        Args:
            templates: those of given rows stand in front of nothing.
            prompts: the rows' bare prompts.

        Returns:
            Number of rows that stay bare because of the limit.
        """
        self.templates = list(templates)
        self.templated_ids = [[] for _ in self.rows]
        in_front = ["" if n in self.given_ids else template for n, template in enumerate(templates)]
        if not any(in_front):
            return 0
        applied = [apply_to_prompt(template, prompt) for template, prompt in zip(in_front, prompts, strict=True)]
        for n, row_ids in enumerate(tokenize(applied)):
            if in_front[n] and (limit is None or len(row_ids) <= limit):
                self.templated_ids[n] = list(row_ids)
            elif n not in self.given_ids:
                self.templates[n] = ""
        return sum(map(bool, templates)) - sum(map(bool, self.templates))

    def template(self, row: int) -> str:
        """The template of a row; "" for a bare rollout."""
        return self.templates[row] if self.templates else ""

    def _is_templated(self, row: int) -> bool:
        return bool(self.templated_ids and self.templated_ids[row])

    def places(self, prompt_ids: Sequence[RowIds]) -> list[int]:
        """Where in their completions the turns after these prompts begin, in tokens."""
        return [len(ids) - self.bare_lengths[ids.row] for ids in prompt_ids]

    def prompts_to_draw_from(self, prompt_ids: Sequence[RowIds]) -> list[list[int]]:
        """Token ids from which each row's turn is generated: T(x, z), or x, and the turns so far."""
        return [
            self.templated_ids[ids.row] + ids[self.bare_lengths[ids.row] :] if self._is_templated(ids.row) else ids
            for ids in prompt_ids
        ]


def model_tokens(output: Mapping[str, Any]) -> torch.Tensor:
    """(B, T) 1 on the tokens that the model wrote; 0 on a tool's, and on padding."""
    mask: torch.Tensor = output["completion_mask"]
    return mask * output["tool_mask"] if "tool_mask" in output else mask


@dataclass(frozen=True)
class RolloutFacts:
    """The facts about one rollout that all ranks know."""

    sample_id: str
    template: str
    reward: float
    """The reward that says what *solved* means; NaN is not scorable."""
    total: float
    """The weighted sum of the rewards. GRPO trains on it."""
    solved: bool
    calls: Calls
    """Of tools."""


def groups_of(rows: Sequence[RolloutFacts], group_size: int) -> list[tuple[Group, Sequence[RolloutFacts]]]:
    """The groups of a batch of all ranks, in TRL's rank-major order: ``group_size`` rows in a row are a group. Given
    rows count in its spread, and in nothing else."""
    groups = []
    for start in range(0, len(rows), group_size):
        whole = rows[start : start + group_size]
        own = [row for row in whole if not isinstance(row.template, Given)]
        templated, solved = [bool(row.template) for row in own], [row.solved for row in own]
        spread, totals = has_spread([row.total for row in whole]), [row.total for row in own]
        groups.append((Group(whole[0].sample_id, templated, solved, spread, totals), whole))
    return groups
