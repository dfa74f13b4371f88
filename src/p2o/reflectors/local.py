"""Reflectors that run on the model in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..core.evolve import ReflectionJob, Reflector, Reply
from ..errors import ConfigError
from ..generation.efficient import efficient
from .settings import LOCAL

if TYPE_CHECKING:
    from ..trl.trainer import P2OTrainer


class LocalReflector:
    """Reflects with the model in training: ``policy`` (current weights) or ``self`` (the frozen starting policy).

    ``self`` costs no second copy with LoRA (the adapter is switched off); in full fine-tuning the starting weights
    are loaded again for the time of the reflection.

    Raises:
        ConfigError: unknown kind, or ``self`` where the starting weights cannot be loaded again.
    """

    def __init__(self, trainer: P2OTrainer, kind: str) -> None:
        if kind not in LOCAL:
            raise ConfigError(f"reflector is {kind!r}; use one of {', '.join(LOCAL)} or a Reflector object")
        self.trainer = trainer
        self.kind = kind

    def bound(self, call: Callable[..., Any]) -> Reflector:
        """A reflector for rank 0, where ``call`` runs a collective method of the generator."""
        args = self.trainer.args

        def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
            texts, prompt_tokens, completion_tokens = call(
                "reflect",
                [job.prompt for job in jobs],
                self.kind,
                args.reflect_temperature,
                args.reflect_max_tokens,
            )
            return [Reply(text, None, p, c) for text, p, c in zip(texts, prompt_tokens, completion_tokens, strict=True)]

        return reflect


@contextmanager
def starting_policy(trainer: P2OTrainer) -> Iterator[Any]:
    """The frozen starting policy: with LoRA the model with its adapter off, in full fine-tuning loaded from where the
    model came from and dropped afterwards."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    policy = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(policy, PeftModel):
        with policy.disable_adapter():
            yield policy
        return
    source = trainer.model.config._name_or_path
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=trainer.model.dtype, trust_remote_code=trainer.args.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"reflector 'self' cannot load the starting policy again from {source!r}; pass the model by name or "
            "path, or choose another reflector"
        ) from error
    model = model.to(trainer.accelerator.device).eval()
    try:
        yield model
    finally:
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@torch.no_grad()
def generate_ids(
    model: Any,
    tokenizer: Any,
    prompt_ids: Sequence[Sequence[int]],
    temperature: float,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], Any] = lambda done: None,
) -> list[list[int]]:
    """Completion ids (without padding) of plain transformers generation, in the order of ``prompt_ids``.

    ``progress`` is told how many were completed, after each batch.
    """
    completions: list[list[int]] = []
    for start in range(0, len(prompt_ids), batch_size):
        chunk = {"input_ids": [list(ids) for ids in prompt_ids[start : start + batch_size]]}
        inputs = tokenizer.pad(chunk, padding_side="left", return_tensors="pt").to(model.device)
        with efficient(model):
            output = model.generate(
                **inputs,
                do_sample=temperature > 0,
                temperature=temperature or None,
                top_k=None,
                top_p=None,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        for row in output[:, inputs["input_ids"].size(1) :].tolist():
            completions.append([t for t in row if t != tokenizer.pad_token_id])
        progress(len(inputs["input_ids"]))
    return completions
