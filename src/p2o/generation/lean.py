"""One token of each completion through a model of Llama's family, without the Python of transformers' layers.

On a CPU that Python is a large part of a step of a small model. The weights are used through the model's own
linear layers, so adapters and quantized weights count. Other models, and all models on a GPU (where a step is recorded
as a graph), go through transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.functional import linear, rms_norm

from .shared_cache import SharedCache, inner_model

FAMILY = frozenset(["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
STEADY_ROPE = frozenset(["default", "linear", "llama3", "yarn"])
"""Kinds of rotary positions whose angles do not depend on the length of the text."""
TRLS_OWN = "_fused_forward"
"""Name of the function in TRL's ``add_fused_lm_head`` (trl.trainer.utils)."""
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
    yield from (inner.model, inner.model.rotary_emb)
    for layer in inner.model.layers:
        norms = (getattr(layer.self_attn, name, None) for name in ("q_norm", "k_norm"))
        yield from (layer, layer.self_attn, layer.mlp, layer.input_layernorm, layer.post_attention_layernorm)
        yield from (norm for norm in norms if norm is not None)
    yield inner.model.norm


def _is_plain(module: Any) -> bool:
    """Whether a module is a class of transformers or PEFT that is as it was made."""
    if type(module).__module__.split(".")[0] not in ("transformers", "peft"):
        return False
    return not has_hooks(module) and _is_own(vars(module).get("forward"))


def _is_own(forward: Any) -> bool:
    """Whether a module's ``forward`` is its class's (None), or the one that TRL puts in front of it, which computes the
    same unless log-probs are asked for."""
    code = getattr(forward, "__code__", None)
    return forward is None or (code is not None and code.co_name == TRLS_OWN)


class Lean:
    """The pass of one token (`Forward`).

    Args:
        longest: positions are smaller.
    """

    def __init__(self, model: Any, cache: SharedCache, longest: int) -> None:
        inner = inner_model(model)
        decoder = inner.model
        self.cache, self.embed, self.norm, self.head = cache, decoder.embed_tokens, decoder.norm, inner.lm_head
        self.blocks = [Block(layer, number, cache) for number, layer in enumerate(decoder.layers)]
        places = torch.arange(longest, device=model.device)[None]
        cos, sin = decoder.rotary_emb(decoder.embed_tokens.weight[:1], places)
        first, second = sin[0].chunk(2, dim=-1)
        self.cos, self.sin = cos[0, :, None], torch.cat([-first, second], dim=-1)[:, None]

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens)
        cos, sin = self.cos[positions], self.sin[positions]
        for block in self.blocks:
            hidden = block(hidden, cos, sin)
        logits: torch.Tensor = self.head(normed(self.norm, hidden))
        return logits


class Block:
    """One layer."""

    def __init__(self, layer: Any, number: int, cache: SharedCache) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.number, self.cache, self.store = number, cache, cache.layers[number]
        self.before, self.between = layer.input_layernorm, layer.post_attention_layernorm
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.norms = (attention.q_norm, attention.k_norm) if hasattr(attention, "q_norm") else None
        self.heads = attention.config.num_attention_heads, attention.config.num_key_value_heads
        self.project = together(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out, self.down, self.act = passing(attention.o_proj), passing(mlp.down_proj), passing(mlp.act_fn)
        self.gate, self.up = passing(mlp.gate_proj), passing(mlp.up_proj)

    def __call__(self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.out(self._attended(normed(self.before, hidden), cos, sin))
        read = normed(self.between, hidden)
        return hidden + self.down(self.act(self.gate(read)) * self.up(read))

    def _attended(self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """(R, width) of the heads."""
        rows, (queries, heads) = len(hidden), self.heads
        states = self.project(hidden).view(rows, -1, self.size)
        turned, value = states[:, : queries + heads], states[:, queries + heads :]
        if self.norms:
            of_query, of_key = self.norms
            turned = torch.cat([normed(of_query, turned[:, :queries]), normed(of_key, turned[:, queries:])], dim=1)
        turned = rotated(turned, cos, sin)
        keys, values = self.store.update(turned[:, queries:, None], value[:, :, None])
        query = (turned[:, :queries] * self.scaling).view(rows, heads, -1, self.size)
        return self.cache.attended(self.number, query, keys, values).reshape(rows, -1)


def passing(module: Any) -> Any:
    """The module's own ``forward``, without a look for hooks, if it has none."""
    return module if has_hooks(module) else module.forward


def has_hooks(module: Any) -> bool:
    """Whether somebody listens to a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def together(*projections: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The projections' results side by side; as one product of matrices, if all are plain."""
    if all(type(p) is torch.nn.Linear and not has_hooks(p) and "forward" not in vars(p) for p in projections):
        weight = torch.cat([p.weight for p in projections])
        biases = [p.bias for p in projections if p.bias is not None]
        bias = torch.cat(biases) if biases else None
        return lambda hidden: linear(hidden, weight, bias)
    return lambda hidden: torch.cat([p(hidden) for p in projections], dim=-1)


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
