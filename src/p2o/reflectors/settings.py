"""Settings that say who writes new templates."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = ("self", "policy")
"""Reflectors that are the policy itself: they are made by whoever has one."""


@dataclass(kw_only=True)
class ReflectorSettings:
    """The keys of a recipe (and of verl's ``p2o`` group) for the reflector."""

    reflector: str = "self"
    """``self``, ``policy``, ``openai``, ``phrases``, or ``module:function`` (or ``file.py:function``): a function that
    takes the reflection prompt and returns the reply, both text."""

    reflector_model: str | None = None
    """Model name at the endpoint (``openai``)."""

    reflector_base_url: str | None = None
    """URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."""

    reflector_api_key_env: str | None = None
    """NAME of the environment variable that holds the key."""

    reflector_concurrency: int = 8
    """Requests under way at the same time."""

    reflector_temperature: float | None = 1.0
    """Sampling temperature at the endpoint; null leaves it to the endpoint. (`reflect_temperature` is that of ``self``
    and ``policy``.)"""

    reflector_max_tokens: int | None = 4096
    """Longest reply of the endpoint, reasoning included; null leaves it to the endpoint."""

    reflector_timeout: float = 120.0
    """Seconds for one request, from the connection to the last byte of the reply."""

    reflector_retries: int = 3
    """Tries after the first, of a request that failed for a passing reason."""

    reflector_phrases: list[str] | None = None
    """Bank of the ``phrases`` reflector; a general one by default."""

    reflector_max_phrases: int = 8
    """Most phrases in one template of the ``phrases`` reflector."""
