"""A reflector behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..core.evolve import ReflectionJob, Reply
from ..errors import ReflectorError

_NO_KEY = "none"  # local servers ask for no key, the client wants one


class OpenAIReflector:
    """Asks a chat model, several jobs at a time.

    Time-outs, refused connections and HTTP 408, 409, 429 and 5xx are retried with back-off by the client;
    a wrong key or a bad request is not. The key stays in the environment: it is read when a call is made
    and kept nowhere; replies name the kind of an error, never its text.

    Args:
        model: the model's name at the endpoint.
        base_url: such as ``http://localhost:8000/v1``; None is OpenAI itself.
        api_key_env: the *name* of the environment variable that holds the key; None for no key.
        concurrency: calls under way at the same time.
        timeout: seconds for one try.
        retries: tries after the first.
        temperature: None leaves it to the endpoint.
        max_tokens: longest reply, reasoning included; None leaves it to the endpoint.

    Raises:
        ReflectorError: the named environment variable is not set.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 4,
        temperature: float | None = 1.0,
        max_tokens: int | None = 4096,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self.options: dict[str, Any] = {}
        if temperature is not None:
            self.options["temperature"] = temperature
        if max_tokens is not None:
            self.options["max_tokens"] = max_tokens
        self._key()

    def __repr__(self) -> str:
        return f"OpenAIReflector(model={self.model!r}, base_url={self.base_url!r})"

    def _key(self) -> str:
        if self.api_key_env is None:
            return _NO_KEY
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ReflectorError(
                f"The environment variable {self.api_key_env} is not set: "
                "it must hold the reflector's key (reflector option api_key_env names it)."
            )
        return key

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        import openai

        client = openai.OpenAI(
            api_key=self._key(), base_url=self.base_url, timeout=self.timeout, max_retries=self.retries
        )
        with client, ThreadPoolExecutor(max(1, min(self.concurrency, len(jobs)))) as threads:
            return list(threads.map(lambda job: self._one(client, job), jobs))

    def _one(self, client: Any, job: ReflectionJob) -> Reply:
        try:
            answer = client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": job.prompt}], **self.options
            )
            usage = answer.usage
            return Reply(
                answer.choices[0].message.content or "",
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
            )
        except Exception as e:  # everything the client, the wire or a broken server may raise
            return Reply(None, error=error_kind(e))


def error_kind(error: Exception) -> str:
    """A short name for what went wrong. Never the error's own text, which may quote the request."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "timeout"
    if isinstance(error, openai.APIConnectionError):
        return "connection"
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        if status in (401, 403):
            return "auth"
        if status == 429:
            return "rate_limit"
        return "server_error" if status >= 500 else f"http_{status}"
    return f"bad_reply ({type(error).__name__})"
