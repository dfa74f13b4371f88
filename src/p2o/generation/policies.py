"""The protocol of a policy, which completes prompts, and the policy of a served model. `local` has the one with local
weights."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ..base.live import Bar
from ..core.evolve import Reply
from ..core.evolve.reflector import reported_tokens
from ..core.samples import Sample
from ..core.templates import apply_to_prompt
from ..core.turns import Calls
from ..errors import ConfigError
from ..reflectors.chat import ChatModel
from .settings import GenerationSettings, Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completion:
    """A policy's completion of one prompt."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """None: not reported, so not measured."""
    ids: tuple[int, ...] = ()
    """Token ids; only a local policy gives them."""
    fits: bool = True
    """False: the prompt leaves no room in the context, so nothing was written."""
    calls: Calls | None = None
    """Its tool calls; None: it had no tools."""


class Policy(Protocol):
    """Completes prompts; temperature 0 is greedy.

    The same weights, prompts and seed give the same completions. The global random state does not change.
    """

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """One completion of each prompt, of at most ``max_new_tokens`` tokens (None: the policy's own limit)."""


def prompt_of(sample: Sample, template: str) -> Prompt:
    """T(x, z) of a sample, as a policy takes it; the template "" gives the bare prompt."""
    return apply_to_prompt(template, sample.prompt)


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seeds all random number generators inside this context, and restores them afterwards, so that training draws the
    same random numbers as without it."""
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
    """A seed that depends only on ``seed`` and the prompts, so that a resumed evolution repeats the completions of the
    killed one."""
    digest = hashlib.sha256(repr((seed, prompts)).encode()).digest()
    return int.from_bytes(digest[:6], "big")


RETRIES = 2
"""Tries of a completion after the first; all tries together end after timeout × (1 + RETRIES)."""


class EndpointPolicy:
    """A model served behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider).

    Args:
        timeout: seconds for one completion, from the connection to the last byte.

    Raises:
        ReflectorError: the URL is not valid.
    """

    def __init__(
        self, model: str, base_url: str, settings: GenerationSettings, concurrency: int = 32, timeout: float = 600.0
    ) -> None:
        self.chat = ChatModel(model, base_url, concurrency=concurrency, timeout=timeout, retries=RETRIES)
        self.settings = settings
        self.warned = False  # that token counts are missing

    def complete(
        self, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int | None = None
    ) -> list[Completion]:
        """One completion of each prompt, in their order, with ``concurrency`` requests at a time.

        Raises:
            ConfigError: the endpoint fails.
        """
        chats = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
        options = request_options(self.settings, temperature, max_new_tokens)
        with Bar(len(prompts), "rolling out", shown=len(prompts) > self.chat.concurrency) as bar:

            def answered(reply: Reply) -> None:
                if reply.error is not None:
                    raise ConfigError(
                        f"the policy endpoint {self.chat.place} failed ({reply.error}: {reply.reason}); "
                        f"check that it runs and serves {self.chat.model}"
                    )
                bar.advance()

            replies = self.chat.ask(chats, options, answered)
        unmeasured = reported_tokens(replies)[2]
        if unmeasured and not self.warned:
            self.warned = True
            log.warning(
                "the policy endpoint %s gave no token counts (usage) for %d of %d completions: the tokens of these "
                "rollouts are not measured, and missing from every cost",
                self.chat.place, unmeasured, len(replies),
            )  # fmt: skip
        return [Completion(r.text or "", r.prompt_tokens, r.completion_tokens) for r in replies]


def request_options(
    settings: GenerationSettings, temperature: float, max_new_tokens: int | None = None
) -> Mapping[str, Any]:
    """The sampling settings of a chat request. OpenAI's interface lacks some of them; these have vLLM's names."""
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
