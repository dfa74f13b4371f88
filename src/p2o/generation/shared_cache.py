"""The keys and values of a prompt, kept once for all completions that are drawn from it.

While completions are drawn, each attends to its prompt and to itself. The queries of all completions of one prompt are
multiplied with the prompt's keys together, and those of each completion with its own keys; one softmax is taken over
both (after Hydragen, arXiv 2402.05099).
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


class SharedLayer(DynamicLayer):
    """One layer's keys and values, in tensors of a fixed size until `reserve` or `keep` is called.

    Args:
        keys, values: (P, heads, L, size) of the P distinct prompts.
        place: (1,) index of the completions' token that is being computed; shared by all layers.
        rows: number of completions.
    """

    keys: Any
    values: Any

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, place: torch.Tensor, rows: int) -> None:
        super().__init__()
        self.prompt_keys, self.prompt_values, self.place = keys, values, place
        self.keys = keys.new_zeros((rows, keys.size(1), 0, keys.size(3)))
        self.values = values.new_zeros((rows, values.size(1), 0, values.size(3)))
        self.is_initialized = True

    def reserve(self, room: int) -> None:
        """Makes room for ``room`` more tokens of each completion. The new places hold zeros."""
        self.keys, self.values = (torch.nn.functional.pad(t, (0, 0, 0, room)) for t in (self.keys, self.values))

    def keep(self, rows: torch.Tensor, prompts: torch.Tensor | None) -> None:
        """Keeps these completions and prompts (None: all prompts)."""
        self.keys, self.values = self.keys[rows], self.values[rows]
        if prompts is not None:
            self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Puts one token of each completion at ``place``; returns the completions' keys and values."""
        self.keys.index_copy_(2, self.place, key_states.to(self.keys.dtype))  # autocast computes some in another dtype
        self.values.index_copy_(2, self.place, value_states.to(self.values.dtype))
        return self.keys, self.values


class SharedCache(DynamicCache):
    """The keys and values of P distinct prompts and of R completions of them.

    Args:
        prompts: (keys, values) of each layer, (P, heads, L, size), padded on the left.
        mask_PL: 1 on the prompts' tokens.
        prompt_R: the prompt of each completion, an index from 0 to P − 1.
    """

    def __init__(
        self, prompts: Sequence[tuple[torch.Tensor, torch.Tensor]], mask_PL: torch.Tensor, prompt_R: torch.Tensor
    ) -> None:
        super().__init__()
        self.place = torch.full((1,), -1, device=mask_PL.device)
        self.layers = [SharedLayer(keys, values, self.place, len(prompt_R)) for keys, values in prompts]
        self.prompt_bias = bias_where(mask_PL.bool())
        self._arrange(prompt_R)

    def _arrange(self, prompt_R: torch.Tensor) -> None:
        """Puts the completions into a grid with a row for each prompt: ``slot_PK`` is the completion in each place (0
        where a prompt has fewer), ``back_R`` the place of each completion. They are not needed where the completions,
        in their order, fill the grid."""
        self.prompt_R = prompt_R
        counts_P = torch.bincount(prompt_R, minlength=len(self.prompt_bias))
        order_R = prompt_R.argsort(stable=True)
        first_P = counts_P.cumsum(0) - counts_P
        self.width = int(counts_P.max())
        numbers = torch.arange(len(prompt_R), device=prompt_R.device)
        self.back_R = torch.empty_like(prompt_R)
        self.back_R[order_R] = prompt_R[order_R] * self.width + numbers - first_P[prompt_R[order_R]]
        slots = torch.zeros(len(counts_P) * self.width, dtype=torch.long, device=prompt_R.device)
        slots[self.back_R] = numbers
        self.slot_PK = slots.view(len(counts_P), self.width)
        self.fills_grid = len(slots) == len(prompt_R) and bool((slots == numbers).all())
        self.row_bias = self.prompt_bias[prompt_R]

    def _grid(self, rows: torch.Tensor) -> torch.Tensor:
        """(R, heads, queries, …) → (P, heads, K · queries, …)."""
        grid = rows.view(*self.slot_PK.shape, *rows.shape[1:]) if self.fills_grid else rows[self.slot_PK]
        return grid.transpose(1, 2).flatten(2, 3)

    def _rows(self, grid: torch.Tensor) -> torch.Tensor:
        """(P, heads, K · queries, …) → (R, heads, queries, …)."""
        rows = grid.view(*grid.shape[:2], self.width, -1, grid.size(3)).transpose(1, 2).flatten(0, 1)
        return rows if self.fills_grid else rows[self.back_R]

    def reserve(self, room: int) -> None:
        """Makes room for ``room`` more tokens of each completion."""
        for layer in self.layers:
            layer.reserve(room)

    def keep(self, rows: torch.Tensor) -> None:
        """Keeps the completions ``rows``, and the prompts that they need."""
        prompts, prompt_R = torch.unique(self.prompt_R[rows], return_inverse=True)
        fewer = len(prompts) < len(self.prompt_bias)
        for layer in self.layers:
            layer.keep(rows, prompts if fewer else None)
        self.prompt_bias = self.prompt_bias[prompts]
        self._arrange(prompt_R)

    def next_place(self) -> None:
        """The next token of each completion is computed from now on."""
        self.place += 1
        own = bias_where(torch.arange(self.layers[0].keys.size(2), device=self.place.device) <= self.place)
        self.bias = torch.cat([self.row_bias, own.expand(len(self.row_bias), -1)], dim=1)[:, None, None]

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
        layer: Any = self.layers[int(module.layer_idx)]  # type: ignore[arg-type]
        rows, heads, size = query.size(0), keys.size(1), query.size(3)
        query = query.reshape(rows, heads, -1, size) * (size**-0.5 if scaling is None else scaling)
        of_prompt = self._rows(self._grid(query) @ layer.prompt_keys.mT)
        scores = torch.cat([of_prompt, query @ keys.mT], dim=-1) + self.bias
        weights = scores.softmax(-1, dtype=torch.float32).to(values.dtype)
        on_prompt, on_own = torch.split(weights, [of_prompt.size(-1), keys.size(2)], dim=-1)  # type: ignore[no-untyped-call]
        output = on_own @ values + self._rows(self._grid(on_prompt) @ layer.prompt_values)
        return output.reshape(rows, 1, -1, size), None

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
