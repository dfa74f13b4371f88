"""A policy whose weights are in this process: a checkpoint that was loaded, or the model in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from ..base.live import Bar
from ..errors import ConfigError
from .efficient import draw_by, why_not
from .models import resolve_model
from .policies import Completion, isolated_rng, seed_of
from .settings import (
    GenerationSettings,
    Prompt,
    context_length,
    generation_config,
    prompt_ids,
    read_chat_template,
    stop_tokens,
)

MOST_LOGITS = 2**27
"""Logits of a scoring pass, tokens × vocabulary (half a gigabyte in float32); long rows are scored fewer at a time."""


@dataclass(frozen=True)
class ModelSource:
    """Where a policy's weights and tokenizer come from. The fields are those of TRL's ``ModelConfig``."""

    name: str
    """A folder, a LoRA adapter, a hub name, or ``builtin:…``."""
    revision: str | None = None
    dtype: str | None = "auto"
    trust_remote_code: bool = False
    attn_implementation: str | None = None
    chat_template_path: str | None = None
    bf16: bool = False
    """Mixed precision, as in training."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of ``from_pretrained`` (``model_init_kwargs``, quantization)."""


class LocalPolicy:
    """Draws completions with transformers.

    Args:
        model: a causal language model. The caller sets its mode (train or eval).
        tokenizer: pads on the left.
        settings: the settings of its sampling.
        label: the label of a progress bar; "" for no bar.
        autocast: a context in which the forward passes run.
    """

    def __init__(
        self, model: Any, tokenizer: Any, settings: GenerationSettings, label: str = "", autocast: Any = nullcontext
    ) -> None:
        self.model, self.tokenizer, self.settings, self.label = model, tokenizer, settings, label
        self.stop_ids = stop_tokens(model, tokenizer)
        self.autocast = autocast

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """One completion of each prompt, in their order. A prompt that does not fit the context gets an empty one, with
        ``fits`` False."""
        length = max_new_tokens or self.settings.max_new_tokens
        ids = prompt_ids(self.tokenizer, prompts, self.settings)
        limit = self.room(length)
        fitting = [n for n in range(len(ids)) if limit is None or len(ids[n]) <= limit]
        if not fitting:
            return [Completion("", fits=False) for _ in prompts]
        order = sorted(fitting, key=lambda n: len(ids[n]))  # batches of similar lengths need little padding
        with isolated_rng(seed_of(self.settings.seed, prompts)):
            completed = self.complete_ids([ids[n] for n in order], temperature, length)
        texts = self.tokenizer.batch_decode(completed, skip_special_tokens=True)
        done = {
            n: Completion(text, len(ids[n]), len(row), tuple(row))
            for n, text, row in zip(order, texts, completed, strict=True)
        }
        return [done.get(n) or Completion("", fits=False) for n in range(len(ids))]

    def room(self, max_new_tokens: int) -> int | None:
        """Longest prompt, in tokens, that leaves room for the completion; None if the model has no known limit."""
        return room_for_prompt(self.model.config, max_new_tokens)

    def complete_ids(self, rows: Sequence[list[int]], temperature: float, max_new_tokens: int) -> list[list[int]]:
        """Completion ids of prompts, up to and with the first stop token. The caller seeds the random numbers."""
        import torch

        config = generation_config(self.settings, self.tokenizer, self.stop_ids, temperature, max_new_tokens)
        ours = why_not(self.model, config) is None
        completed: list[list[int]] = []
        with Bar(len(rows), self.label, shown=bool(self.label)) as bar, torch.no_grad(), self.autocast():
            for start in range(0, len(rows), self.settings.batch_size):
                chunk = rows[start : start + self.settings.batch_size]
                new = draw_by(self.model, chunk, config).ids if ours else self._by_transformers(chunk, config)
                completed += [until_stop(row, self.stop_ids) for row in new.tolist()]
                bar.advance(len(chunk))
        return completed

    def _by_transformers(self, rows: Sequence[list[int]], config: Any) -> Any:
        """(rows, longest) completion ids by the model's own ``generate``."""
        inputs = self.tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
        output = self.model.generate(**inputs.to(self.model.device), generation_config=config)
        return output[:, inputs["input_ids"].size(1) :]

    def token_logps(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[int]], temperature: float = 1.0
    ) -> list[list[float]]:
        """log π(y_t | prompt, y_<t) of given completion ids, at a sampling temperature."""
        return self.logps_after(prompt_ids(self.tokenizer, prompts, self.settings), completions, temperature)

    def logps_after(
        self, ids: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], temperature: float
    ) -> list[list[float]]:
        """`token_logps` after prompts that are given as token ids."""
        import torch

        order = sorted(range(len(ids)), key=lambda i: len(ids[i]) + len(completions[i]))
        longest = max((len(ids[i]) + len(completions[i]) for i in order), default=1)
        vocabulary = self.model.config.get_text_config().vocab_size
        size = max(1, min(self.settings.batch_size, MOST_LOGITS // (vocabulary * longest)))
        found: dict[int, list[float]] = {}
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            rows = {"input_ids": [[*ids[i], *completions[i]] for i in chunk]}
            batch = self.tokenizer.pad(rows, padding_side="right", return_tensors="pt").to(self.model.device)
            with torch.no_grad(), self.autocast():
                logits = self.model(**batch).logits
            logps_BTV = (logits[:, :-1].float() / temperature).log_softmax(-1)
            logps_BT = logps_BTV.gather(2, batch["input_ids"][:, 1:, None])[:, :, 0]
            for n, i in enumerate(chunk):
                first = len(ids[i]) - 1
                found[i] = logps_BT[n, first : first + len(completions[i])].tolist()
        return [found[i] for i in range(len(ids))]


def room_for_prompt(model_config: Any, max_new_tokens: int) -> int | None:
    """Longest prompt, in tokens, that leaves room for the completion; None if the model has no known limit."""
    context = context_length(model_config)
    return None if context is None else context - max_new_tokens


def until_stop(ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    """The ids up to and with the first stop token."""
    end = next((n for n, token in enumerate(ids) if token in stop_ids), len(ids) - 1)
    return list(ids[: end + 1])


def load_policy(source: ModelSource, settings: GenerationSettings, label: str = "rolling out") -> LocalPolicy:
    """A policy loaded from a checkpoint, as training would load it.

    Raises:
        ConfigError: it cannot be loaded, or the tokenizer has no chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model(source.name)
    shared = {"revision": source.revision or "main", "trust_remote_code": source.trust_remote_code}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": source.dtype, **shared, **source.more}
    if source.attn_implementation:
        options["attn_implementation"] = source.attn_implementation
    if "quantization_config" in options:
        options["device_map"] = {"": device}  # such a model is loaded where it stays
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", truncation_side="left", **shared)
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ConfigError(
            f"cannot load a model from {source.name!r} ({str(error).splitlines()[0]}); give a checkpoint folder, or a "
            "hub name within reach"
        ) from error
    if source.chat_template_path:
        tokenizer.chat_template = read_chat_template(source.chat_template_path)
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"the tokenizer of {source.name!r} has no chat template; set chat_template_path to a tokenizer or a "
            ".jinja file that has one"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    mixed = source.bf16 and device == "cuda"
    autocast = (lambda: torch.autocast(device, torch.bfloat16)) if mixed else nullcontext
    model = model if "device_map" in options else model.to(device)
    return LocalPolicy(model.eval(), tokenizer, settings, label, autocast)
