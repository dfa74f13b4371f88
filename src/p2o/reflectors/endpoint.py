"""A reflector behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..base.markdown import fenced
from ..core.evolve import ReflectionJob, Reply
from ..core.evolve.reading import without_reasoning
from .chat import ChatModel
from .retry import ask_until_usable

FIELD = "instruction"
AS_JSON = {
    "type": "json_schema",
    "json_schema": {
        "name": FIELD,
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {FIELD: {"type": "string"}},
            "required": [FIELD],
            "additionalProperties": False,
        },
    },
}
"""What OpenAI's API and vLLM (guided decoding) take as ``response_format``."""

_IN_JSON = (
    f'\n\nInstead of the fences write JSON: {{"{FIELD}": "…"}}, with the complete new instruction, which differs from '
    "the one in use."
)

DIRECTIONS = (
    "",
    "Describe a way of working, step by step.",
    "Begin with the form that the answer must have.",
    "Use at most three sentences.",
    "Show the form with one example that you invent.",
    "Name the usual mistakes, and what to do in their place.",
)
"""Sentences behind the prompts of jobs that have the same parent, so that the replies differ."""


class OpenAIReflector:
    """Asks a served chat model for new templates, several jobs at a time. If a job fails, its reply has the reason.

    A reply that cannot be used (no instruction, the parent's own text, thoughts that do not end) is asked for once
    more, as JSON by a schema (``response_format``), which OpenAI and vLLM enforce. The first question leaves the model
    free to think. A server that refuses the schema is not asked so again.

    Args:
        model: the model's name at the endpoint.
        base_url: such as ``http://localhost:8000/v1``; None is OpenAI itself.
        api_key_env: the *name* of the environment variable that holds the key; None for no key.
        concurrency: most requests at the same time.
        timeout: most seconds for one request, from the connection to the last byte of the reply.
        retries: tries after the first, for failures that may be temporary.
        temperature: None uses the endpoint's own.
        max_tokens: longest reply in tokens, reasoning included; None uses the endpoint's own.

    Raises:
        ReflectorError: the URL is not valid, or the environment variable holds no key.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 3,
        temperature: float | None = 1.0,
        max_tokens: int | None = 4096,
    ) -> None:
        self.chat = ChatModel(
            model,
            base_url,
            api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            retries=retries,
            may_drop_temperature=True,
        )
        options = {"temperature": temperature, "max_tokens": max_tokens}
        self.options = {name: value for name, value in options.items() if value is not None}
        self.takes_schema = True
        """False after the server has refused one."""

    def __repr__(self) -> str:
        return f"OpenAIReflector(model={self.chat.model!r}, base_url={self.chat.place!r})"

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        return ask_until_usable(in_different_directions(jobs), [self._in_fences, self._as_json])

    def _in_fences(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return self._ask([job.prompt for job in jobs], {})

    def _as_json(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        if not self.takes_schema:
            return [Reply(None, "no_schema")] * len(jobs)
        replies = self._ask([job.prompt + _IN_JSON for job in jobs], {"response_format": AS_JSON})
        self.takes_schema = any(reply.error not in ("http_400", "http_422") for reply in replies)
        return [out_of_json(reply) for reply in replies]

    def _ask(self, prompts: Sequence[str], more: dict[str, Any]) -> list[Reply]:
        return self.chat.ask([[{"role": "user", "content": prompt}] for prompt in prompts], {**self.options, **more})


def in_different_directions(jobs: Sequence[ReflectionJob]) -> list[ReflectionJob]:
    """The jobs; those that have a parent in common are asked in different words. The first of them, and so every job
    whose parent is its own, keeps its prompt."""
    seen: dict[tuple[str, str], int] = {}
    asked = []
    for job in jobs:
        pair = job.template, job.partner
        direction = DIRECTIONS[seen.get(pair, 0) % len(DIRECTIONS)]
        seen[pair] = seen.get(pair, 0) + 1
        asked.append(replace(job, prompt=f"{job.prompt}\n{direction}") if direction else job)
    return asked


def out_of_json(reply: Reply) -> Reply:
    """The reply with the instruction of its JSON between fences. A reply of another kind stays as it is (a server may
    not know ``response_format``, and ignore it); one of broken JSON is an error."""
    text = (without_reasoning(reply.text or "") or "").strip()
    if not text.startswith("{"):
        return reply
    try:
        instruction = json.loads(text)[FIELD]
    except (ValueError, KeyError, RecursionError):
        instruction = None
    if isinstance(instruction, str):
        return replace(reply, text=fenced(instruction))
    return replace(reply, text=None, error="bad_json", reason=f"the reply is no JSON with the text {FIELD}: {text}")
