"""A fixed policy to roll out with: local weights or a served model. For ``p2o evolve`` and ``p2o eval``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .errors import ConfigError
from .samples import Message, Rollout, RolloutFn, Sample
from .templates import apply_template

if TYPE_CHECKING:
    from .rewards import RewardSet


@dataclass(frozen=True)
class Completion:
    text: str
    prompt_tokens: int
    completion_tokens: int


class Policy(Protocol):
    """Completes chat conversations; temperature 0 is greedy."""

    def complete(
        self, conversations: Sequence[Sequence[Message]], temperature: float, max_new_tokens: int
    ) -> list[Completion]: ...


class LocalPolicy:
    """Weights on this machine (a checkpoint, a LoRA adapter or a hub name), by transformers generation.

    Raises:
        ConfigError: they cannot be loaded, or the tokenizer has no chat template.
    """

    def __init__(self, name: str, batch_size: int = 64, dtype: str = "auto") -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from .models import resolve_model

        source = resolve_model(name)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left")
            self.model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot load a model from {name!r}: give a checkpoint folder, or a hub name within reach"
            ) from error
        if self.tokenizer.chat_template is None:
            raise ConfigError(f"the tokenizer of {name!r} has no chat template; save one with the tokenizer")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.batch_size = batch_size

    def complete(
        self, conversations: Sequence[Sequence[Message]], temperature: float, max_new_tokens: int
    ) -> list[Completion]:
        from .reflect import generate_ids

        prompt_ids = self.tokenizer.apply_chat_template(
            [list(c) for c in conversations], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        ids = generate_ids(
            self.model,
            self.tokenizer,
            [prompt_ids[i] for i in order],
            temperature,
            max_new_tokens,
            self.batch_size,
        )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        done = {i: Completion(t, len(prompt_ids[i]), len(c)) for i, t, c in zip(order, texts, ids, strict=True)}
        return [done[i] for i in range(len(prompt_ids))]


class EndpointPolicy:
    """A model served behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider)."""

    def __init__(self, model: str, base_url: str, api_key: str = "none", concurrency: int = 32) -> None:
        import openai

        self.client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=4)
        self.model = model
        self.concurrency = concurrency

    def complete(
        self, conversations: Sequence[Sequence[Message]], temperature: float, max_new_tokens: int
    ) -> list[Completion]:
        import openai

        def one(conversation: Sequence[Message]) -> Completion:
            messages: Any = [dict(m) for m in conversation]
            answer = self.client.chat.completions.create(
                model=self.model, messages=messages, temperature=temperature, max_tokens=max_new_tokens
            )
            usage = answer.usage
            return Completion(
                answer.choices[0].message.content or "",
                usage.prompt_tokens if usage else 0,
                usage.completion_tokens if usage else 0,
            )

        try:
            with ThreadPoolExecutor(self.concurrency) as threads:
                return list(threads.map(one, conversations))
        except openai.OpenAIError as error:
            raise ConfigError(
                f"the policy endpoint {self.client.base_url} failed ({type(error).__name__}); "
                "check that it runs and serves this model"
            ) from error


def rollout_fn(policy: Policy, rewards: RewardSet, temperature: float, max_new_tokens: int) -> RolloutFn:
    """Rolls out (template, sample) pairs with a fixed policy, and scores them."""

    def roll_out(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        conversations = [apply_template(template, sample.messages) for template, sample in pairs]
        completions = policy.complete(conversations, temperature, max_new_tokens)
        scored = rewards.score([c.text for c in completions], [sample for _, sample in pairs])
        return [
            Rollout(c.text, s.reward, s.solved, s.feedback, c.prompt_tokens, c.completion_tokens)
            for c, s in zip(completions, scored, strict=True)
        ]

    return roll_out


def successes(
    roll_out: RolloutFn, samples: Sequence[Sample], draws: int, templates: Mapping[str, str] | None = None
) -> dict[str, list[Rollout]]:
    """Sample id → its ``draws`` rollouts, bare or under the sample's template, in one batch."""
    templates = templates or {}
    pairs = [(templates.get(s.id, ""), s) for s in samples for _ in range(draws)]
    rollouts = roll_out(pairs)
    return {s.id: rollouts[n * draws : (n + 1) * draws] for n, s in enumerate(samples)}
