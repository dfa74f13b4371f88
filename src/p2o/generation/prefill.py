"""The first pass over the prompts of a batch: each distinct prompt once, and what prompts begin with once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from .prefix_groups import groups_of, pays, prefix_lengths, stretches
from .shared_cache import Layers, SharedCache

Ids = Sequence[int]
"""The token ids of one prompt."""


@dataclass(frozen=True)
class Prompts:
    """The P distinct prompts of R completions."""

    distinct: list[Ids]
    """Those that begin alike are side by side."""
    order: list[int]
    """The completions, sorted by their prompts."""
    numbers: list[int]
    """The prompt of each completion in this order, an index into ``distinct``."""

    @classmethod
    def of(cls, prompts: Sequence[Ids]) -> Prompts:
        """Finds the distinct ones of R prompts."""
        keys = [tuple(ids) for ids in prompts]
        number = {ids: n for n, ids in enumerate(sorted(set(keys)))}
        order = sorted(range(len(keys)), key=lambda row: number[keys[row]])
        return cls(list(number), order, [number[keys[row]] for row in order])


class Texts(NamedTuple):
    """Computed texts, padded on the left."""

    layers: Layers
    """(keys, values) of each layer, (N, heads, W, size)."""
    mask: torch.Tensor
    """(N, W): 1 on tokens."""
    logits: torch.Tensor
    """(N, vocabulary) after each text."""

    def at(self, index: torch.Tensor) -> Layers:
        """The layers of the texts ``index``."""
        return [(keys[index], values[index]) for keys, values in self.layers]


def prefill(model: Any, prompts: Prompts, device: Any) -> tuple[SharedCache, torch.Tensor]:
    """The prompts' keys and values, and the logits (P, vocabulary) of the first tokens after them.

    Prompts that begin alike (one template over many samples) have their common tokens computed once, if that saves
    enough; and these are kept once, if fewer keys are read then in each step of drawing.
    """
    rows, numbers = prompts.distinct, torch.tensor(prompts.numbers, device=device)
    groups = groups_of(rows)
    if not pays(rows, groups):
        whole = computed_texts(model, rows, device)
        return SharedCache(whole.layers, whole.mask, numbers), whole.logits
    lengths = prefix_lengths(rows, groups)
    place = {group: n for n, group in enumerate(lengths)}
    begins = [rows[groups.index(group)][: max(length, 1)] for group, length in lengths.items()]
    heads = computed_texts(model, begins, device)
    heads.mask[[n for n, length in enumerate(lengths.values()) if not length]] = 0  # rows that begin unlike all others
    head_P = torch.tensor([place[group] for group in groups], device=device)
    rests = [row[lengths[group] :] for row, group in zip(rows, groups, strict=True)]
    rest = computed_texts(model, rests, device, heads, head_P)
    if heads.mask.numel() + len(numbers) * rest.mask.size(1) < len(rows) * (heads.mask.size(1) + rest.mask.size(1)):
        cache = SharedCache(heads.layers, heads.mask, head_P[numbers], rest.at(numbers), rest.mask[numbers])
    else:
        both = zip(heads.at(head_P), rest.layers, strict=True)
        layers = [(torch.cat([k, own_k], -2), torch.cat([v, own_v], -2)) for (k, v), (own_k, own_v) in both]
        cache = SharedCache(layers, torch.cat([heads.mask[head_P], rest.mask], dim=1), numbers)
    return cache, rest.logits


def computed_texts(
    model: Any, rows: Sequence[Ids], device: Any, heads: Texts | None = None, head_N: torch.Tensor | None = None
) -> Texts:
    """Computes N texts in passes of similar lengths.

    Args:
        heads: what the texts come after.
        head_N: which of the heads each text comes after.
    """
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    index = torch.tensor(order, device=device)
    passes = []
    for start, end in stretches([len(rows[n]) for n in order]):
        before = None if heads is None or head_N is None else head_N[index[start:end]]
        passes.append(one_pass(model, [rows[n] for n in order[start:end]], device, heads, before))
    width = max(texts.mask.size(1) for texts in passes)
    back = index.argsort()

    def joined(tensors: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
        """All texts in the order of ``rows``, filled up on the left of ``dim``."""
        behind = (0, 0) * (-1 - dim)
        filled = [torch.nn.functional.pad(t, (*behind, width - t.size(dim), 0)) for t in tensors]
        return torch.cat(filled)[back]

    layers = [
        (joined([keys for keys, _ in parts], -2), joined([values for _, values in parts], -2))
        for parts in zip(*(texts.layers for texts in passes), strict=True)
    ]
    mask = joined([texts.mask for texts in passes], -1)
    return Texts(layers, mask, torch.cat([texts.logits for texts in passes])[back])


def one_pass(model: Any, rows: Sequence[Ids], device: Any, heads: Texts | None, head_N: torch.Tensor | None) -> Texts:
    """Computes texts together, after their heads."""
    ids, mask = left_padded(rows, device)
    cache, known = DynamicCache(config=model.config), mask
    if heads is not None and head_N is not None:
        for number, (keys, values) in enumerate(heads.at(head_N)):
            cache.update(keys, values, number)
        known = torch.cat([heads.mask[head_N], mask], dim=1)
    positions = (known.cumsum(1) - 1).clamp(min=0)[:, -ids.size(1) :]
    output = model(
        input_ids=ids, attention_mask=known, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    new: list[Any] = cache.layers
    width = ids.size(1)
    return Texts(
        [(layer.keys[:, :, -width:], layer.values[:, :, -width:]) for layer in new], mask, output.logits[:, -1]
    )


def left_padded(rows: Sequence[Ids], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), both (rows, longest)."""
    width = max(map(len, rows))
    ids = [[0] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
