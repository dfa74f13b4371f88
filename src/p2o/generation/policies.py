"""What a policy is: something that completes prompts. Local weights are in `local`, a served model is here."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ..base.terminal import progress_bar
from ..core.evolve import Reply
from ..core.samples import Sample
from ..core.templates import apply_to_prompt
from ..errors import ConfigError
from ..reflectors.chat import ChatModel
from .settings import GenerationSettings, Prompt


@dataclass(frozen=True)
class Completion:
    """What a policy wrote for one prompt."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ids: tuple[int, ...] = ()
    """Token ids, of a local policy."""
    fits: bool = True
    """False: the prompt leaves no room in the context, so nothing was written."""


class Policy(Protocol):
    """Completes prompts; temperature 0 is greedy.

    The same weights, prompts and seed give the same completions, and no random state outside is touched.
    """

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """One completion of each prompt, of at most ``max_new_tokens`` tokens (None: the policy's own limit)."""


def prompt_of(sample: Sample, template: str) -> Prompt:
    """T(x, z) of a sample as the policy takes it; "" is the bare prompt."""
    return apply_to_prompt(template, sample.prompt)


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seeds all random number generators inside and restores them after, so that the training stream continues as if
    nothing had happened."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(enabled=True):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_of(seed: int, prompts: Sequence[Any]) -> int:
    """Same prompts, same seed, same completions: a resumed evolution repeats what the killed one drew."""
    digest = hashlib.sha256(repr((seed, prompts)).encode()).digest()
    return int.from_bytes(digest[:6], "big")


class EndpointPolicy:
    """A model served behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider).

    Args:
        timeout: seconds for one completion, from the connection to the last byte.

    Raises:
        ReflectorError: the URL is none.
    """

    def __init__(
        self, model: str, base_url: str, settings: GenerationSettings, concurrency: int = 32, timeout: float = 600.0
    ) -> None:
        self.chat = ChatModel(model, base_url, concurrency=concurrency, timeout=timeout, retries=2)
        self.settings = settings

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """One completion of each prompt, by ``concurrency`` requests at a time.

        Raises:
            ConfigError: the endpoint fails.
        """
        chats = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
        options = request_options(self.settings, temperature, max_new_tokens)
        with progress_bar(len(prompts), "rolling out", shown=len(prompts) > self.chat.concurrency) as bar:

            def answered(reply: Reply) -> None:
                if reply.error is not None:
                    raise ConfigError(
                        f"the policy endpoint {self.chat.place} failed ({reply.error}: {reply.reason}); "
                        f"check that it runs and serves {self.chat.model}"
                    )
                bar.update(1)

            replies = self.chat.ask(chats, options, answered)
        return [Completion(r.text or "", r.prompt_tokens, r.completion_tokens) for r in replies]


def request_options(
    settings: GenerationSettings, temperature: float, max_new_tokens: int | None = None
) -> Mapping[str, Any]:
    """The sampling settings of a chat request; those that OpenAI's interface lacks are vLLM's."""
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_new_tokens or settings.max_new_tokens}
    if settings.chat_template_kwargs:
        options["chat_template_kwargs"] = dict(settings.chat_template_kwargs)
    if temperature:
        if settings.top_p != 1.0:
            options["top_p"] = settings.top_p
        if settings.top_k > 0:
            options["top_k"] = settings.top_k
        if settings.min_p is not None:
            options["min_p"] = settings.min_p
    if settings.repetition_penalty != 1.0:
        options["repetition_penalty"] = settings.repetition_penalty
    return options
