"""The first pass over the prompts of a batch: each distinct prompt once, and what prompts begin with once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from .prefix_groups import groups_of, pays, prefix_lengths
from .shared_cache import SharedCache

PADDING = 0.1
"""Prompts are computed in one pass if at most this part of it is padding."""


Ids = Sequence[int]
"""The token ids of one prompt."""


@dataclass(frozen=True)
class Prompts:
    """The P distinct prompts of R completions."""

    distinct: list[Ids]
    """Sorted by length."""
    order: list[int]
    """The completions, sorted by their prompts."""
    numbers: list[int]
    """The prompt of each completion in this order, an index into ``distinct``."""

    @classmethod
    def of(cls, prompts: Sequence[Ids]) -> Prompts:
        """Finds the distinct ones of R prompts."""
        keys = [tuple(ids) for ids in prompts]
        number = {ids: n for n, ids in enumerate(sorted(dict.fromkeys(keys), key=len))}
        order = sorted(range(len(keys)), key=lambda row: number[keys[row]])
        return cls(list(number), order, [number[keys[row]] for row in order])


def left_padded(rows: Sequence[Ids], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), both (rows, longest)."""
    width = max(map(len, rows))
    ids = [[0] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def prefill(model: Any, prompts: Prompts, device: Any) -> tuple[SharedCache, torch.Tensor]:
    """The prompts' keys and values, and the logits (P, vocabulary) of the first tokens after them."""
    passes = [
        one_pass(model, prompts.distinct[start:end], device)
        for start, end in stretches([len(ids) for ids in prompts.distinct])
    ]
    width = max(mask.size(1) for _, mask, _ in passes)

    def joined(tensors: list[Any], dim: int) -> torch.Tensor:
        """Along the prompts, filled up on the left of ``dim``."""
        if len(tensors) == 1:
            return tensors[0]
        behind = (0, 0) * (-1 - dim)
        return torch.cat([torch.nn.functional.pad(t, (*behind, width - t.size(dim), 0)) for t in tensors])

    layers: list[tuple[Any, Any]] = [
        (joined([layer.keys for layer in parts], -2), joined([layer.values for layer in parts], -2))
        for parts in zip(*(cache.layers for cache, _, _ in passes), strict=True)
    ]
    cache = SharedCache(
        layers, joined([mask for _, mask, _ in passes], -1), torch.tensor(prompts.numbers, device=device)
    )
    return cache, torch.cat([logits for _, _, logits in passes])


def stretches(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of the prompts of each pass.

    Args:
        lengths: sorted.
    """
    found, start = [], 0
    for n in range(1, len(lengths) + 1):
        if n == len(lengths) or sum(lengths[start : n + 1]) < (1 - PADDING) * (n + 1 - start) * lengths[n]:
            found.append((start, n))
            start = n
    return found


def one_pass(model: Any, rows: Sequence[Ids], device: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """(cache, mask of its places, (rows, vocabulary) logits after the prompts).

    Prompts that begin alike (one template over many samples) have their common tokens computed once, if that saves
    enough. A row then lies in the cache as ``[padding, prefix, padding, rest]``.
    """
    groups = groups_of(rows)
    cache = DynamicCache(config=model.config)
    if not pays(rows, groups):
        ids, mask = left_padded(rows, device)
        return cache, mask, logits_after(model, ids, mask, cache)
    lengths = prefix_lengths(rows, groups)
    place = {group: n for n, group in enumerate(lengths)}
    heads = [rows[groups.index(group)][:length] for group, length in lengths.items()]
    head_ids, head_mask = left_padded(heads, device)
    logits_after(model, head_ids, head_mask, cache)
    index = torch.tensor([place[group] for group in groups], device=device)
    cache.batch_select_indices(index)
    rests = [row[lengths[group] :] for row, group in zip(rows, groups, strict=True)]
    rest_ids, rest_mask = left_padded(rests, device)
    mask = torch.cat([head_mask[index], rest_mask], dim=1)
    return cache, mask, logits_after(model, rest_ids, mask, cache)


def logits_after(model: Any, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """(rows, vocabulary): computes tokens that come after what the cache holds.

    Args:
        ids: (rows, new), padded on the left.
        mask: (rows, held + new).
    """
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.size(1) :]
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    logits: torch.Tensor = output.logits[:, -1]
    return logits
