"""Templates: apply one, choose the pool by greedy cover, assign the pool to samples.

Pure functions; the only randomness is the ``random.Random`` that the caller passes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .samples import Message

MIN_WEIGHT = 1e-6
"""The least weight of a template when the assignment draws templates (P²O's reference code)."""


def apply_template(template: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """T(x, z): the template, a blank line, then the user's text, in the last user message.

    When the message's content is a list of parts, the template goes in front of its first text part. The system message
    and earlier turns do not change; "" is the bare prompt.

    Raises:
        ValueError: there is no user message.
    """
    applied = [dict(message) for message in messages]
    if not template.strip():
        return applied
    for message in reversed(applied):
        if message["role"] == "user":
            message["content"] = _in_front(template.strip(), message["content"])
            return applied
    raise ValueError("a template needs a user message to stand in front of")


def _in_front(template: str, content: Any) -> Any:
    """The template in front of a message's content (see `Message`)."""
    if isinstance(content, str):
        return f"{template}\n\n{content}"
    parts = [dict(part) for part in content]
    first = next((part for part in parts if part.get("type") == "text"), None)
    if first is None:
        return [{"type": "text", "text": template}, *parts]
    first["text"] = f"{template}\n\n{first['text']}"
    return parts


def apply_to_prompt(template: str, prompt: str | Sequence[Message]) -> str | list[dict[str, Any]]:
    """T(x, z) for a prompt as TRL takes it: chat messages, or a plain string for models without a chat."""
    if not isinstance(prompt, str):
        return apply_template(template, prompt)
    return f"{template.strip()}\n\n{prompt}" if template.strip() else prompt


def control_tokens_in(template: str, special_tokens: Iterable[str]) -> list[str]:
    """The special tokens of a tokenizer that a template contains.

    Such a template could end the user's turn or forge another one, so it is refused. White space and
    empty strings do not count as control tokens.
    """
    return sorted({token for token in special_tokens if token.strip() and token in template})


def greedy_cover(scores_CV: Sequence[Sequence[float]], threshold: float = 1.0) -> list[int]:
    """Greedy set cover of the dev samples by the candidates that solve them (P²O, section "template pool").

    Args:
        scores_CV: score of each of C candidates on each of V dev samples.
        threshold: a sample is solved at this score.

    Returns:
        Candidate indices, largest new cover first (the earlier candidate wins a tie); empty if nothing is solved.
    """
    solved = [{v for v, score in enumerate(row) if score >= threshold} for row in scores_CV]
    chosen: list[int] = []
    while solved:
        best = max(range(len(solved)), key=lambda c: len(solved[c]))
        newly = solved[best]
        if not newly:
            break
        chosen.append(best)
        solved = [row - newly for row in solved]
    return chosen


@dataclass(frozen=True)
class PoolTemplate:
    """A template kept by the cover, or a proposal taken as it is (``pool: proposals``)."""

    text: str
    weight: float
    """Mean score on the dev part; in what proportion an unscored one is drawn."""
    solves: frozenset[str]
    """Ids of the dev samples it solved."""
    scored: bool = True
    """False: it was not rolled out on the dev part, so ``weight`` and ``solves`` say nothing of it."""


def make_pool(
    templates: Sequence[str],
    scores_CV: Sequence[Sequence[float]],
    solved_CV: Sequence[Sequence[bool]],
    dev_ids: Sequence[str],
) -> list[PoolTemplate]:
    """The pool of one evolution: the cover's templates with their weights.

    The bare prompt ("") may be part of the pool, when it solves dev samples too (as in P²O's reference code).
    """
    cover = greedy_cover(solved_CV)
    return [
        PoolTemplate(
            text=templates[c],
            weight=sum(scores_CV[c]) / len(dev_ids),
            solves=frozenset(i for i, s in zip(dev_ids, solved_CV[c], strict=True) if s),
        )
        for c in cover
    ]


def assign(
    sample_ids: Sequence[str],
    pool: Sequence[PoolTemplate],
    num_generations: int,
    rng: random.Random,
    *,
    bare_slots: int = 0,
    same_template: bool = False,
    forbidden: Callable[[str, str], bool] = lambda template, sample_id: False,
) -> dict[str, list[str]]:
    """Draws K templates for each hard sample (P²O, section "assignment").

    A dev sample draws from the templates that solved it; any other sample draws from the whole pool. Draws are with
    replacement, weighted by mean dev score. The last ``bare_slots`` slots stay bare.

    Args:
        sample_ids: the hard samples.
        num_generations: K, the group's size.
        same_template: one draw for the whole group instead of one for each slot.
        forbidden: (template, sample id) → whether the sample must not get the template, because that holds its gold
            answer.

    Returns:
        ``{sample_id: [K templates]}``; samples for which no template is left are not in it.
    """
    assignment: dict[str, list[str]] = {}
    templated_slots = num_generations - bare_slots
    if templated_slots < 1:
        return assignment
    for sample_id in sample_ids:
        solving = [t for t in pool if sample_id in t.solves]
        choices = [t for t in solving if not forbidden(t.text, sample_id)]
        choices = choices or [t for t in pool if not forbidden(t.text, sample_id)]
        if not any(t.text for t in choices):
            continue
        weights = [max(t.weight, MIN_WEIGHT) for t in choices]
        draws = rng.choices(choices, weights, k=1 if same_template else templated_slots)
        texts = [t.text for t in draws] * (templated_slots if same_template else 1)
        if any(texts):
            assignment[sample_id] = texts + [""] * bare_slots
    return assignment


def pool_to_json(pool: Sequence[PoolTemplate]) -> list[dict[str, Any]]:
    """A pool as JSON."""
    return [{"text": t.text, "weight": t.weight, "solves": sorted(t.solves), "scored": t.scored} for t in pool]


def pool_from_json(rows: Sequence[Mapping[str, Any]]) -> list[PoolTemplate]:
    """The inverse of `pool_to_json`."""
    return [
        PoolTemplate(r["text"], float(r["weight"]), frozenset(r["solves"]), bool(r.get("scored", True))) for r in rows
    ]
