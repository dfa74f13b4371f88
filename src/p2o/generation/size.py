"""The size of a model, counted from its configuration: without loading weights, however they are sharded or packed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL = 1e9
"""Models with fewer parameters are asked for new templates in few words (`p2o.reflectors.short`)."""


def parameters_of(config: Mapping[str, Any]) -> float | None:
    """Parameters of a decoder with gated MLPs, the usual architecture; other ones come out close. None when its
    ``config.json`` does not tell its shape."""
    try:
        h, n, v = config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]
        heads = config["num_attention_heads"]
        head = config.get("head_dim") or h // heads
        kv = config.get("num_key_value_heads") or heads
        attention = h * head * (2 * heads + 2 * kv)
        layer = attention + 3 * h * config["intermediate_size"] + 2 * h
    except KeyError:
        return None
    embeddings: float = v * h * (1 if config.get("tie_word_embeddings") else 2)
    return float(n * layer + embeddings + h)


def asks_short(reflect_prompt: str, model: Any = None) -> bool:
    """Whether a policy is asked for templates in few words.

    Args:
        reflect_prompt: "short", "full" or "auto" (`LoopSettings`).
        model: a transformers model; "auto" is short when its configuration tells of fewer than `SMALL` parameters.
    """
    if reflect_prompt != "auto" or model is None:
        return reflect_prompt == "short"
    parameters = parameters_of(model.config.get_text_config().to_dict())
    return parameters is not None and parameters < SMALL


def reflecting_temperature(reflect_temperature: float | None, short: bool) -> float:
    """The sampling temperature of a policy that reflects: what is set, else 0.3 when it is asked in few words (a small
    model loses the thread above that), else 1."""
    if reflect_temperature is not None:
        return reflect_temperature
    return 0.3 if short else 1.0
