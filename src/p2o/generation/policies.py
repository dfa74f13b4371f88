"""A fixed policy to roll out with: local weights or a served model. For ``p2o evolve`` and ``p2o eval``."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..base.terminal import progress_bar
from ..core.evolve import Reflector, Reply
from ..core.samples import Message, Rollout, RolloutFn, Sample
from ..core.templates import apply_template
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..rewards import RewardSet
    from ..runs.recipe import Recipe


@dataclass(frozen=True)
class Completion:
    text: str
    prompt_tokens: int
    completion_tokens: int
    ids: tuple[int, ...] = ()
    """Token ids, of a local policy."""


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
        from ..reflectors.local import generate_ids

        prompt_ids = self._prompt_ids(conversations)
        order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
        with progress_bar(len(order), "rolling out", shown=len(order) > self.batch_size) as bar:
            ids = generate_ids(
                self.model,
                self.tokenizer,
                [prompt_ids[i] for i in order],
                temperature,
                max_new_tokens,
                self.batch_size,
                bar.update,
            )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        done = {
            i: Completion(t, len(prompt_ids[i]), len(c), tuple(c)) for i, t, c in zip(order, texts, ids, strict=True)
        }
        return [done[i] for i in range(len(prompt_ids))]

    def token_logps(
        self,
        conversations: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[int]],
        temperature: float = 1.0,
    ) -> list[list[float]]:
        """log π(y_t | conversation, y_<t) of given completion ids, at a sampling temperature."""
        import torch

        prompts = self._prompt_ids(conversations)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(completions[i]))
        found: dict[int, list[float]] = {}
        for start in range(0, len(order), self.batch_size):
            chunk = order[start : start + self.batch_size]
            rows = {"input_ids": [[*prompts[i], *completions[i]] for i in chunk]}
            batch = self.tokenizer.pad(rows, padding_side="right", return_tensors="pt").to(self.model.device)
            with torch.no_grad():
                logps_BTV = (self.model(**batch).logits[:, :-1].float() / temperature).log_softmax(-1)
            logps_BT = logps_BTV.gather(2, batch["input_ids"][:, 1:, None])[:, :, 0]
            for n, i in enumerate(chunk):
                first = len(prompts[i]) - 1
                found[i] = logps_BT[n, first : first + len(completions[i])].tolist()
        return [found[i] for i in range(len(prompts))]

    def _prompt_ids(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        chats = [list(c) for c in conversations]
        ids: list[list[int]] = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        return ids


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
            with (
                ThreadPoolExecutor(self.concurrency) as threads,
                progress_bar(len(conversations), "rolling out", shown=len(conversations) > self.concurrency) as bar,
            ):
                completions = []
                for completion in threads.map(one, conversations):
                    completions.append(completion)
                    bar.update(1)
                return completions
        except openai.OpenAIError as error:
            raise ConfigError(
                f"the policy endpoint {self.client.base_url} failed ({type(error).__name__}); "
                "check that it runs and serves this model"
            ) from error


def seed_everything(seed: int) -> None:
    """Seeds what a fixed policy samples with."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)


def policy_of(recipe: Recipe, model: str) -> Policy:
    """A fixed policy: served, if the recipe names an endpoint, else loaded here."""
    if recipe.task.policy_base_url:
        return EndpointPolicy(model, recipe.task.policy_base_url)
    return LocalPolicy(model, recipe.training.evolve_batch_size)


def reflector_with(recipe: Recipe, policy: Policy) -> Reflector:
    """The recipe's reflector beside a fixed policy, which is itself the reflector for "self" and "policy"."""
    from ..reflectors import BatchReflector
    from ..reflectors.building import build_reflector
    from ..reflectors.control_tokens import ControlGuard
    from ..reflectors.guard import guard_control_tokens

    training, reflector = recipe.training, build_reflector(recipe.task)
    if isinstance(reflector, str):

        def reply(prompts: list[str]) -> list[Reply]:
            conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
            written = policy.complete(conversations, training.reflect_temperature, training.reflect_max_tokens)
            return [Reply(c.text, None, c.prompt_tokens, c.completion_tokens) for c in written]

        reflector = BatchReflector(reply)
    return guard_control_tokens(reflector, ControlGuard(getattr(policy, "tokenizer", None)))


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
