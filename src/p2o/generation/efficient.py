"""Where our own drawing (`sampler`) takes the place of transformers' ``generate``, and where it does not.

What is drawn is the same: equal completions when greedy, equally distributed ones when sampled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .sampler import Drawn, Sampling, draw
from .shared_cache import inner_model

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
        "transformers_version",
    ]
)
"""The generation settings that `sampler` supports. Others may depend on the whole batch or sequence."""


def effective(model: Any, config: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
    """(generation settings, other arguments of ``generate``): the settings that are not given are the model's, and then
    transformers' defaults (transformers, ``_prepare_generation_config``)."""
    known = copy.deepcopy(config)
    known.update(**model.generation_config.to_dict(), defaults_only=True, allow_custom_entries=True)
    known.update(**known._get_default_generation_params(), defaults_only=True)
    return known, known.update(**options)


def why_not(model: Any, config: Any) -> str | None:
    """Why `sampler` cannot draw what ``model.generate`` would draw under these settings; None if it can. This is the
    only place that decides it.

    Args:
        config: transformers' generation settings; those that it leaves open are the model's own.
    """
    inner = inner_model(model)
    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, TypeError, ValueError):
        layers = []
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return "some layers of the model keep other states than keys and values of the whole text"
    if not getattr(inner, "_supports_attention_backend", False):
        return "the model has an attention of its own"
    if unusual := [name for name in UNUSUAL_ATTENTION if getattr(inner.config.get_text_config(), name, None)]:
        return f"the model's attention has {unusual[0]}"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "the adapter puts learned tokens in front of each prompt"
    given, _ = effective(model, config)
    if given.max_new_tokens is None:
        return "max_new_tokens is not set"
    defaults = {**vars(type(config)()), **given._get_default_generation_params()}
    changed = {
        name
        for name, value in vars(given).items()  # False where the default is None, or 0, is no change
        if not name.startswith("_") and (value or None) != (defaults.get(name) or None)
    }
    return f"{min(changed - HONOURED)} is set" if changed - HONOURED else None


GRAPHS = True
"""On a GPU, record a step of drawing as a CUDA graph and replay it (docs/performance.md, "On a GPU")."""

UNUSUAL_ATTENTION = ("attn_logit_softcapping", "alibi", "use_attention_sinks")
"""Keys of a model's configuration that say that attention is more than a softmax of products."""


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
def efficient(model: Any) -> Iterator[list[Drawn]]:
    """Inside this context ``model.generate`` draws by `sampler`. Its settings must be such that `why_not` is None.

    Yields:
        What each call has drawn, with the log-probs.
    """
    record: list[Drawn] = []

    def generate(
        input_ids: torch.Tensor, attention_mask: torch.Tensor, generation_config: Any = None, **options: Any
    ) -> torch.Tensor:
        lengths = attention_mask.sum(1).tolist()  # the prompts are padded on the left
        prompts = [ids[-length:] for ids, length in zip(input_ids.tolist(), lengths, strict=True)]
        record.append(draw_by(model, prompts, generation_config or model.generation_config, **options))
        return torch.cat([input_ids, record[-1].ids], dim=1)

    with generating_by(model, generate):
        yield record


def draw_by(model: Any, prompts: Sequence[Sequence[int]], generation_config: Any, **options: Any) -> Drawn:
    """Draws one completion of each prompt, under settings of which `why_not` is None.

    Args:
        prompts: token ids.
    """
    config, others = effective(model, generation_config, **options)
    if others:
        raise TypeError(f"efficient generation takes no {', '.join(others)}")
    sampling = Sampling.of(config)
    pad_id = config.pad_token_id if config.pad_token_id is not None else (*sampling.ends, 0)[0]
    return draw(model, prompts, sampling, pad_id, model.device, GRAPHS and model.device.type == "cuda")
