"""Whether settings, model and data fit together: errors and warnings before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ..core.samples import Sample
from ..errors import ConfigError
from .batch_sizes import left_out_warning


def check_inputs(
    args: Any,
    *,
    samples: Mapping[str, Sample],
    chat_template: str | None,
    model_name: str,
    prompt_limit: int,
    has_dropout: bool,
    warn: bool,
) -> None:
    """Checks a trainer's inputs.

    Args:
        prompt_limit: longest prompt, in tokens, that leaves room for a completion.
        warn: whether this process warns.

    Raises:
        ConfigError: training is not possible with them.
    """
    if prompt_limit < 1:
        raise ConfigError(
            f"max_completion_length {args.max_completion_length} leaves no room for a prompt in the context of "
            f"{model_name!r} ({prompt_limit + args.max_completion_length} tokens); lower it"
        )
    groups = args.generation_batch_size // args.num_generations
    warning = left_out_warning(len(samples), groups, args.num_generations)
    if warning and warn:
        warnings.warn(warning, stacklevel=4)
    if any(sample.text is None for sample in samples.values()) and not chat_template:
        raise ConfigError(
            f"the tokenizer of {model_name!r} has no chat template, and prompts are chats; "
            "set chat_template_path to a tokenizer or a .jinja file that has one (a base model has none of its own)"
        )
    if args.skip_dead_rows and has_dropout and warn:
        warnings.warn(
            "the model has dropout, so rollouts without advantage are trained like the others; without dropout "
            "(lora_dropout: 0, and none in the model's config) they would cost nothing",
            stacklevel=4,
        )
