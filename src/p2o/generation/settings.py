"""The settings of a policy's sampling: one object, made from a recipe's training settings. Training, ``p2o eval``,
``evolve`` and ``screen`` use it, so that the same checkpoint gives the same figures everywhere.

The rules are those of TRL's `GRPOTrainer` (its constructor and ``_tokenize_prompts``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from transformers import GenerationConfig

Prompt = str | Sequence[Mapping[str, Any]]
"""A plain text, or chat messages."""


@dataclass(frozen=True)
class GenerationSettings:
    """The settings of sampling, except for the temperature."""

    max_new_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    repetition_penalty: float = 1.0
    cache_implementation: str | None = None
    generation_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of transformers' GenerationConfig."""
    chat_template: str | None = None
    """A chat template to use instead of the tokenizer's."""
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    """Prompts in one ``generate`` call."""
    seed: int = 0
    """The completions depend only on it, the weights and the prompts."""

    @classmethod
    def of(cls, training: Any, chat_template: str | None = None) -> GenerationSettings:
        """The settings of a training configuration (`p2o.P2OConfig`).

        Args:
            chat_template: used instead of the tokenizer's.
        """
        return cls(
            chat_template=chat_template,
            max_new_tokens=training.max_completion_length,
            top_p=training.top_p,
            top_k=training.top_k,
            min_p=training.min_p,
            repetition_penalty=training.repetition_penalty,
            cache_implementation=training.cache_implementation,
            generation_kwargs=training.generation_kwargs or {},
            chat_template_kwargs=training.chat_template_kwargs or {},
            batch_size=training.evolve_batch_size,
            seed=training.seed,
        )


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Ids of the tokens that end a completion: all that the model's generation config names, and the tokenizer's."""
    named = model.generation_config.eos_token_id
    ids = [] if named is None else [named] if isinstance(named, int) else list(named)
    own = tokenizer.eos_token_id
    return ids if own is None or own in ids else [own, *ids]


def generation_config(
    settings: GenerationSettings, tokenizer: Any, stop_ids: Sequence[int], temperature: float, max_new_tokens: int
) -> GenerationConfig:
    """transformers' settings of one call.

    Args:
        temperature: 0 is greedy; top-p, top-k and min-p are not used then.
        max_new_tokens: longest completion, in tokens.
    """
    from transformers import GenerationConfig

    options: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": list(stop_ids),
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "min_p": settings.min_p,
        "repetition_penalty": settings.repetition_penalty,
        "cache_implementation": settings.cache_implementation,
        **settings.generation_kwargs,
        **sampling_options(temperature, max_new_tokens),
    }
    return GenerationConfig(**options, disable_compile=True)


UNUSED_TOP_K = 50
"""transformers' default. Greedy decoding does not use it, and warns of every other value."""


def sampling_options(temperature: float, max_new_tokens: int) -> dict[str, Any]:
    """The options of a generation config for a temperature (0: greedy) and a length in tokens."""
    options: dict[str, Any] = {"do_sample": temperature > 0, "temperature": temperature or 1.0}
    if not temperature:
        options |= {"top_p": 1.0, "top_k": UNUSED_TOP_K, "min_p": None}
    return options | {"max_new_tokens": max_new_tokens}


QUIET = {"verbose": False}
"""For tokenizers: no warning of a long text. A prompt that is too long for the model is not given to it."""


def prompt_ids(tokenizer: Any, prompts: Sequence[Prompt], settings: GenerationSettings) -> list[list[int]]:
    """Token ids of prompts, all of them chats or all of them plain texts.

    Raises:
        ConfigError: the chat template refuses a conversation (it has no system role, for instance).
    """
    if not prompts:
        return []
    if isinstance(prompts[0], str):
        ids: list[list[int]] = tokenizer(text=list(prompts), **QUIET)["input_ids"]
        return ids
    try:
        ids = tokenizer.apply_chat_template(
            conversation=[[dict(message) for message in prompt] for prompt in prompts],  # type: ignore[arg-type]
            chat_template=settings.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            tokenizer_kwargs=QUIET,
            **settings.chat_template_kwargs,
        )["input_ids"]
    except Exception as error:  # a chat template may raise any error
        roles = ", ".join(str(message["role"]) for message in prompts[0] if not isinstance(message, str))
        raise ConfigError(
            f"the chat template refuses a conversation of {roles} ({type(error).__name__}: {error}); change "
            "the prompts (a system_prompt that it does not take?) or the chat template"
        ) from error
    return ids


def context_length(model_config: Any) -> int | None:
    """Longest sequence that a model takes, in tokens; None if its configuration does not say."""
    return getattr(model_config.get_text_config(), "max_position_embeddings", None)


def read_chat_template(place: str) -> str:
    """A chat template from a ``.jinja`` file, or of the tokenizer in a folder or on the hub.

    Raises:
        ConfigError: there is none.
    """
    from jinja2 import TemplateSyntaxError
    from transformers import AutoTokenizer
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        if place.endswith((".jinja", ".j2")):
            text = Path(place).read_text(encoding="utf-8")
            _compile_jinja_template(text)
            return text
        template = AutoTokenizer.from_pretrained(place).chat_template
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"chat_template_path: {place!r} is no template (line {error.lineno}: {error.message})"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"chat_template_path: cannot read {place!r} ({str(error).splitlines()[0]})") from error
    if not template:
        raise ConfigError(f"chat_template_path: the tokenizer of {place!r} has no chat template")
    return str(template)
