"""One token of each completion through a model of Llama's family, without the Python of transformers' layers.

On a CPU that Python takes more than half of a step of a small model. The weights are used through the model's own
linear layers, so adapters and quantized weights count. Other models, and all models on a GPU (where a step is recorded
as a graph), go through transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import rms_norm

from .shared_cache import SharedCache, inner_model

FAMILY = frozenset(["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
STEADY_ROPE = frozenset(["default", "linear", "llama3", "yarn"])
"""Kinds of rotary positions whose angles do not depend on the length of the text."""
Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""((R,) last token of each completion, (R,) its position) → (R, vocabulary) logits after it."""


def forward_of(model: Any, cache: SharedCache, longest: int) -> Forward:
    """The pass of one token of each completion; it writes into the cache.

    Args:
        longest: positions are smaller.
    """
    if is_known(model):
        return Lean(model, cache, longest)

    def forward(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = model(
            input_ids=tokens[:, None], position_ids=positions[:, None], past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    return forward


def is_known(model: Any) -> bool:
    """Whether `Lean` computes what the model does: it is on a CPU, its layers are transformers' own, and nobody listens
    to them or has wrapped them (mixed precision)."""
    inner = inner_model(model)
    if type(inner).__name__ not in FAMILY or model.device.type != "cpu":
        return False
    rope = getattr(inner.config, "rope_parameters", None) or {}
    return rope.get("rope_type", "default") in STEADY_ROPE and all(map(_is_plain, _passed_over(model, inner)))


def _passed_over(model: Any, inner: Any) -> Iterator[Any]:
    """The modules whose ``forward`` is not called."""
    yield from {model, inner}
    yield inner.model
    for layer in inner.model.layers:
        norms = (getattr(layer.self_attn, name, None) for name in ("q_norm", "k_norm"))
        yield from (layer, layer.self_attn, layer.input_layernorm, layer.post_attention_layernorm)
        yield from (norm for norm in norms if norm is not None)
    yield inner.model.norm


def _is_plain(module: Any) -> bool:
    """Whether a module is a class of transformers or PEFT that is as it was made."""
    ours = type(module).__module__.split(".")[0] in ("transformers", "peft")
    return ours and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


class Lean:
    """The pass of one token (`Forward`).

    Args:
        longest: positions are smaller.
    """

    def __init__(self, model: Any, cache: SharedCache, longest: int) -> None:
        self.model, self.cache = inner_model(model), cache
        decoder = self.model.model
        places = torch.arange(longest, device=model.device)[None]
        cos, sin = decoder.rotary_emb(decoder.embed_tokens.weight[:1], places)
        first, second = sin[0].chunk(2, dim=-1)
        self.cos, self.sin = cos[0], torch.cat([-first, second], dim=-1)

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        decoder = self.model.model
        hidden = decoder.embed_tokens(tokens)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        for number, layer in enumerate(decoder.layers):
            attended = self._attended(layer.self_attn, number, normed(layer.input_layernorm, hidden), cos, sin)
            hidden = hidden + layer.self_attn.o_proj(attended)
            hidden = hidden + layer.mlp(normed(layer.post_attention_layernorm, hidden))
        logits: torch.Tensor = self.model.lm_head(normed(decoder.norm, hidden))
        return logits

    def _attended(
        self, attention: Any, number: int, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        """(R, width) of one layer's heads."""
        rows, size = len(hidden), attention.head_dim
        query, key, value = (
            project(hidden).view(rows, -1, size) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query, key = normed(attention.q_norm, query), normed(attention.k_norm, key)
        keys, values = self.cache.layers[number].update(rotated(key, cos, sin)[:, :, None], value[:, :, None])
        query = rotated(query, cos, sin).view(rows, keys.size(1), -1, size)
        return self.cache.attended(number, query * attention.scaling, keys, values).reshape(rows, -1)


def rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(R, heads, size) with rotary positions.

    Args:
        cos, sin: (R, 1, size); the first half of ``sin`` has the opposite sign.
    """
    return heads * cos + heads.roll(heads.size(-1) // 2, -1) * sin


def normed(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """transformers' RMS norm of the last dimension, in one operation where the dtypes allow."""
    if norm.weight.dtype == hidden.dtype == torch.float32:
        return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
    result: torch.Tensor = norm(hidden)
    return result
