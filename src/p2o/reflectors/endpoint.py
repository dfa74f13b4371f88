"""A reflector behind an OpenAI-compatible endpoint (vLLM, llama.cpp, a provider)."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.evolve import ReflectionJob, Reply
from .chat import ChatModel


class OpenAIReflector:
    """Asks a served chat model for new templates, several jobs at a time. If a job fails, its reply has the reason.

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

    def __repr__(self) -> str:
        return f"OpenAIReflector(model={self.chat.model!r}, base_url={self.chat.place!r})"

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        """The replies to the jobs, in their order."""
        return self.chat.ask([[{"role": "user", "content": job.prompt}] for job in jobs], self.options)
