"""The keys and values that completions share, kept once while they are drawn: a prompt, or what prompts begin with.

The queries of all completions of one shared text are multiplied with its keys together, and those of each completion
with its own keys; one softmax is taken over both (after Hydragen, arXiv 2402.05099).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

NAME = "p2o_shared_prompts"
"""Name of the attention in transformers' registry, while completions are drawn."""


Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""(keys, values) of each layer, (N, heads, W, size) of N texts."""


class Place:
    """Where the completions' token lies that is being computed; shared by all layers.

    Args:
        first: the number of places that are taken.
        device: on a GPU tensors keep their sizes from `SharedCache.reserve` to `SharedCache.reserve`, so that a step
            can be recorded; elsewhere only the places that are taken are read.
    """

    def __init__(self, first: int, device: torch.device) -> None:
        self.steady = device.type != "cpu"
        self.index = torch.full((1,), first - 1, device=device)
        self.taken = first

    def next(self) -> None:
        """One more place is taken."""
        self.index += 1
        self.taken += 1


class SharedLayer(DynamicLayer):
    """One layer's keys and values.

    Args:
        keys, values: (S, heads, L, size) of the S shared texts.
        own_keys, own_values: (R, heads, W, size) of the completions.
    """

    keys: Any
    values: Any

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        own_keys: torch.Tensor,
        own_values: torch.Tensor,
        place: Place,
    ) -> None:
        super().__init__()
        self.shared_keys, self.shared_values, self.place = keys, values, place
        self.keys, self.values = own_keys, own_values
        self.is_initialized = True

    def reserve(self, room: int) -> None:
        """Makes room for ``room`` more tokens of each completion. The new places hold zeros."""
        self.keys, self.values = (torch.nn.functional.pad(t, (0, 0, 0, room)) for t in (self.keys, self.values))

    def keep(self, rows: torch.Tensor, shared: torch.Tensor | None) -> None:
        """Keeps these completions and shared texts (None: all of them)."""
        self.keys, self.values = self.keys[rows], self.values[rows]
        if shared is not None:
            self.shared_keys, self.shared_values = self.shared_keys[shared], self.shared_values[shared]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Puts one token of each completion at its place; returns the completions' keys and values."""
        if self.place.steady:  # autocast computes some in another dtype
            self.keys.index_copy_(2, self.place.index, key_states.to(self.keys.dtype))
            self.values.index_copy_(2, self.place.index, value_states.to(self.values.dtype))
            return self.keys, self.values
        taken = self.place.taken
        self.keys[:, :, taken - 1 : taken] = key_states
        self.values[:, :, taken - 1 : taken] = value_states
        return self.keys[:, :, :taken], self.values[:, :, :taken]


class SharedCache(DynamicCache):
    """The keys and values of S shared texts and of what R completions have of their own.

    Shared are whole prompts, or what many prompts begin with; then the rest of a prompt is its completions' own.

    Args:
        shared: of each layer, padded on the left.
        mask_SL: 1 on the shared texts' tokens.
        shared_R: the shared text of each completion, an index from 0 to S − 1.
        own: what the completions have before their first token, padded on the left; nothing by default.
        own_mask_RW: 1 on its tokens.
    """

    def __init__(
        self,
        shared: Layers,
        mask_SL: torch.Tensor,
        shared_R: torch.Tensor,
        own: Layers | None = None,
        own_mask_RW: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        rows = len(shared_R)
        own_mask = mask_SL.new_ones((rows, 0)) if own_mask_RW is None else own_mask_RW
        self.place = Place(own_mask.size(1), mask_SL.device)
        own = own or [(k[:1, :, :0].expand(rows, -1, -1, -1), v[:1, :, :0].expand(rows, -1, -1, -1)) for k, v in shared]
        self.layers = [SharedLayer(*texts, *parts, self.place) for texts, parts in zip(shared, own, strict=True)]
        self.shared_bias = None if mask_SL.all() else bias_where(mask_SL.bool())
        needs_bias = self.place.steady or not own_mask.all()
        self.own_bias = bias_where(own_mask.bool()) if needs_bias else None
        self._arrange(shared_R)

    def _arrange(self, shared_R: torch.Tensor) -> None:
        """Puts the completions into a grid with a row for each shared text: ``slot_SK`` is the completion in each place
        (0 where a text has fewer), ``back_R`` the place of each completion. They are not needed where the completions,
        in their order, fill the grid."""
        self.shared_R = shared_R
        counts_S = torch.bincount(shared_R)
        order_R = shared_R.argsort(stable=True)
        first_S = counts_S.cumsum(0) - counts_S
        self.width = int(counts_S.max())
        numbers = torch.arange(len(shared_R), device=shared_R.device)
        self.back_R = torch.empty_like(shared_R)
        self.back_R[order_R] = shared_R[order_R] * self.width + numbers - first_S[shared_R[order_R]]
        slots = torch.zeros(len(counts_S) * self.width, dtype=torch.long, device=shared_R.device)
        slots[self.back_R] = numbers
        self.slot_SK = slots.view(len(counts_S), self.width)
        self.fills_grid = len(slots) == len(shared_R) and bool((slots == numbers).all())

    def _grid(self, rows: torch.Tensor) -> torch.Tensor:
        """(R, heads, queries, …) → (S, heads, K · queries, …)."""
        grid = rows.view(*self.slot_SK.shape, *rows.shape[1:]) if self.fills_grid else rows[self.slot_SK]
        return grid.transpose(1, 2).flatten(2, 3)

    def _rows(self, grid: torch.Tensor) -> torch.Tensor:
        """(S, heads, K · queries, …) → (R, heads, queries, …)."""
        rows = grid.view(*grid.shape[:2], self.width, -1, grid.size(3)).transpose(1, 2).flatten(0, 1)
        return rows if self.fills_grid else rows[self.back_R]

    def reserve(self, room: int) -> None:
        """Makes room for ``room`` more tokens of each completion."""
        for layer in self.layers:
            layer.reserve(room)
        if self.own_bias is not None:
            ahead = torch.finfo(torch.float32).min if self.place.steady else 0.0
            self.own_bias = torch.nn.functional.pad(self.own_bias, (0, room), value=ahead)

    def keep(self, rows: torch.Tensor) -> None:
        """Keeps the completions ``rows``, and the shared texts that they need."""
        texts, shared_R = torch.unique(self.shared_R[rows], return_inverse=True)
        fewer = len(texts) < len(self.slot_SK)
        for layer in self.layers:
            layer.keep(rows, texts if fewer else None)
        if self.shared_bias is not None:
            self.shared_bias = self.shared_bias[texts]
        if self.own_bias is not None:
            self.own_bias = self.own_bias[rows]
        self._arrange(shared_R)

    def next_place(self) -> None:
        """The next token of each completion is computed from now on."""
        self.place.next()
        if self.own_bias is not None and self.place.steady:
            self.own_bias.index_fill_(1, self.place.index, 0.0)

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention of one token of each completion, in the form of transformers' attention functions.

        Args:
            query: (R, query heads, 1, size).
            keys, values: (R, heads, room, size) of the completions.

        Returns:
            (R, 1, query heads, size).
        """
        rows, heads, size = query.size(0), keys.size(1), query.size(3)
        query = query.reshape(rows, heads, -1, size) * (size**-0.5 if scaling is None else scaling)
        output = self.attended(int(module.layer_idx), query, keys, values)  # type: ignore[arg-type]
        return output.reshape(rows, 1, -1, size), None

    def attended(self, number: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(R, heads, queries of a head, size): attention in one layer.

        Args:
            query: (R, heads, queries of a head, size), scaled.
            keys, values: (R, heads, room, size) of the completions.
        """
        layer: Any = self.layers[number]
        of_shared, of_own = self._grid(query) @ layer.shared_keys.mT, query @ keys.mT
        if self.shared_bias is not None:
            of_shared = of_shared + self.shared_bias[:, None, None]
        if self.own_bias is not None:
            of_own = of_own + self.own_bias[:, None, None, : keys.size(2)]
        scores = torch.cat([self._rows(of_shared), of_own], dim=-1)
        weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
        on_shared, on_own = weights[..., : of_shared.size(-1)], weights[..., of_shared.size(-1) :]
        return on_own @ values + self._rows(self._grid(on_shared) @ layer.shared_values)

    @contextmanager
    def attention(self, model: Any) -> Iterator[None]:
        """Inside this context the model's layers attend by `attend`."""
        config = inner_model(model).config.get_text_config()
        before = config._attn_implementation
        AttentionInterface.register(NAME, self.attend)
        config._attn_implementation = NAME
        try:
            yield
        finally:
            config._attn_implementation = before


def bias_where(allowed: torch.Tensor) -> torch.Tensor:
    """float32: 0 where a position may be attended to, else the least finite number."""
    # masked_fill takes the number itself; torch.where would copy it to the GPU, which no CUDA graph may record
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, torch.finfo(torch.float32).min)


def inner_model(model: Any) -> Any:
    """The transformers model, without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
