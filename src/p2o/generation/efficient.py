"""Faster transformers generation for evolutions, evaluations and templated rollouts: no work is done twice.

Rollouts under one template begin with the same tokens (chat header and template), often most of the prompt.
`shared_prefixes` computes such a common beginning for one row, and repeats its keys and values.
`without_finished_rows` takes rows out of the batch when they are finished. `SampledLogps` records the log-probs of the
tokens as they are sampled: the ratio mask needs these log-probs on T(x, z).

A row then lies in the cache as ``[padding, prefix, padding, rest]``; masks and positions
skip the padding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .prefix_groups import groups_of, pays, prefix_lengths

STRETCH = 16
"""Finished rows are first taken out after this many tokens, then after twice as many more, and so on."""


def left_padded(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), both (rows, longest)."""
    width = max(map(len, rows))
    ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in rows])
    mask = torch.stack([torch.arange(width, device=row.device) >= width - len(row) for row in rows])
    return ids, mask.long()


class RoomyLayer(DynamicLayer):
    """A cache layer that reserves room for more tokens. Transformers' own layer copies all keys and values for every
    token."""

    keys: Any
    values: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rooms: dict[str, torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._append("keys", self.keys, key_states)
        self.values = self._append("values", self.values, value_states)
        return self.keys, self.values

    def _append(self, name: str, held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        length = held.shape[-2] if held.numel() else 0
        total = length + new.shape[-2]
        room = self.rooms.get(name)
        if room is None or room.shape[-2] < total or held.data_ptr() != room.data_ptr():
            room = new.new_empty((*new.shape[:-2], total + max(STRETCH, total // 4), new.shape[-1]))
            room[..., :length, :] = held if length else 0
            self.rooms[name] = room
        room[..., length:total, :] = new
        return room[..., :total, :]


def new_cache(model: Any) -> DynamicCache:
    """An empty cache for a model, whose layers grow in steps (`RoomyLayer`)."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def supports_prefixes(model: Any) -> bool:
    """Whether every layer keeps plain keys and values (no sliding windows, no recurrent states)."""
    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, TypeError, ValueError):
        return False
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


HONOURED = frozenset(
    [
        "max_new_tokens",
        "min_new_tokens",
        "max_length",
        "do_sample",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "disable_compile",
    ]
)
"""The generation settings that efficient generation supports. Others may depend on the whole batch or sequence."""


def generates_plainly(model: Any, config: Any) -> bool:
    """Whether efficient generation samples the same as ``model.generate`` under this configuration. The model's own
    generation config is taken into account (transformers, ``_prepare_generation_config``)."""
    effective = copy.deepcopy(config)
    effective.update(**model.generation_config.to_dict(), defaults_only=True, allow_custom_entries=True)
    defaults = {**vars(type(config)()), **effective._get_default_generation_params()}
    changed = {
        name
        for name, value in vars(effective).items()
        if not name.startswith("_") and value is not None and value != defaults.get(name)
    }
    return changed <= HONOURED | {"transformers_version"}


@contextmanager
def generating_by(model: Any, generate: Callable[..., torch.Tensor]) -> Iterator[None]:
    """Inside this context ``model.generate`` is ``generate``."""
    before = vars(model).get("generate")
    model.generate = generate
    try:
        yield
    finally:
        if before is None:
            del model.generate  # the class's own method is visible again
        else:
            model.generate = before


@contextmanager
def efficient(model: Any, record: SampledLogps | None = None) -> Iterator[None]:
    """Inside this context ``model.generate`` shares prefixes and, without a ``record``, takes finished rows out."""
    with ExitStack() as stack:
        if supports_prefixes(model):
            stack.enter_context(record.recording(model) if record else without_finished_rows(model))
            stack.enter_context(shared_prefixes(model))
        yield


@contextmanager
def shared_prefixes(model: Any) -> Iterator[None]:
    """Inside this context ``model.generate`` computes common beginnings of prompts once, if that saves enough."""
    original = model.generate

    def generate(input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> torch.Tensor:
        rows = [ids[mask.bool()] for ids, mask in zip(input_ids, attention_mask, strict=True)]
        groups = groups_of(lists := [row.tolist() for row in rows])
        if not pays(lists, groups):
            return original(input_ids=input_ids, attention_mask=attention_mask, **options)
        lengths = prefix_lengths(lists, groups)
        place = {group: n for n, group in enumerate(lengths)}
        heads = [rows[groups.index(group)][:length] for group, length in lengths.items()]
        head_ids, head_mask = left_padded(heads)
        cache = new_cache(model)
        positions = (head_mask.cumsum(1) - 1).clamp(min=0)
        model(
            input_ids=head_ids, attention_mask=head_mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        index = torch.tensor([place[group] for group in groups], device=input_ids.device)
        cache.batch_select_indices(index)
        rest_ids, rest_mask = left_padded([row[lengths[g] :] for row, g in zip(rows, groups, strict=True)])
        ids = torch.cat([head_ids[index], rest_ids], dim=1)
        mask = torch.cat([head_mask[index], rest_mask], dim=1)
        output = original(input_ids=ids, attention_mask=mask, past_key_values=cache, **options)
        return torch.cat([input_ids, output[:, ids.size(1) :]], dim=1)

    with generating_by(model, generate):
        yield


@contextmanager
def without_finished_rows(model: Any) -> Iterator[None]:
    """Inside this context finished rows of a ``model.generate`` call are taken out of the batch."""
    original = model.generate

    def generate(
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        past_key_values: Any = None,
        generation_config: Any = None,
        **options: Any,
    ) -> torch.Tensor:
        config = generation_config or model.generation_config
        total, least = (options.pop(f"{m}_new_tokens", getattr(config, f"{m}_new_tokens")) or 0 for m in ("max", "min"))
        cache = new_cache(model) if past_key_values is None else past_key_values
        ends = torch.tensor(config.eos_token_id, device=input_ids.device).view(-1)
        pad = options.get("pad_token_id", config.pad_token_id)
        completed = torch.full((len(input_ids), total), ends[0].item() if pad is None else pad, device=input_ids.device)
        ids, mask, rows = input_ids, attention_mask, torch.arange(len(input_ids), device=input_ids.device)
        done, stretch = 0, STRETCH
        while done < total and len(rows):
            part = copy.deepcopy(config)  # not keyword arguments beside it: transformers warns of the two together
            part.max_new_tokens = min(stretch, total - done)
            part.min_new_tokens = min(part.max_new_tokens, max(0, least - done))
            output = original(
                input_ids=ids, attention_mask=mask, past_key_values=cache, generation_config=part, **options
            )
            new = output[:, ids.size(1) :]
            completed[rows, done : done + new.size(1)] = new
            done, stretch = done + new.size(1), 2 * stretch
            going = (~torch.isin(new, ends).any(1)).nonzero()[:, 0]
            ids, mask, rows = output[going], torch.cat([mask, torch.ones_like(new)], 1)[going], rows[going]
            if len(going) < len(output):
                cache.batch_select_indices(going)
        return torch.cat([input_ids, completed[:, :done]], dim=1)

    with generating_by(model, generate):
        yield


class SampledLogps:
    """The log-probs of the tokens that a model sampled, at a temperature.

    They are computed from the logits before the sampling is truncated (top-p, top-k), like TRL's log-probs.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature
        self.drawn: list[torch.Tensor] = []
        self.last: torch.Tensor | None = None

    @contextmanager
    def recording(self, model: Any) -> Iterator[None]:
        """Inside this context ``model.generate`` is recorded. Enter it before `shared_prefixes`: its extra pass must
        not be recorded."""
        original = model.generate

        def generate(**options: Any) -> torch.Tensor:
            self.drawn, self.last = [], None
            handle = inner.register_forward_hook(self._see, with_kwargs=True)
            try:
                output: torch.Tensor = original(**{"past_key_values": new_cache(model), **options})
            finally:
                handle.remove()
            return output

        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        with generating_by(model, generate):
            yield

    def _see(self, model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        if self.last is not None:  # one token a row: it was sampled from the last logits
            self.drawn.append(self.last.gather(1, kwargs["input_ids"][:, -1:])[:, 0])
        self.last = (output.logits[:, -1].float() / self.temperature).log_softmax(-1)

    def of(self, completion_ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probs of the recorded call's completions, one list for each, of the completion's length."""
        assert self.last is not None
        drawn_BT = torch.stack(self.drawn, 1) if self.drawn else self.last[:, :0]
        rows = []
        for n, ids in enumerate(completion_ids):
            row = drawn_BT[n, : len(ids)].tolist()
            rows.append(row if len(row) == len(ids) else [*row, float(self.last[n, ids[-1]])])
        return rows
