"""Settings that say who writes new templates."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = ("self", "policy")
"""Reflectors that are the policy itself."""


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
    """Most requests at the same time."""

    reflector_temperature: float | None = 1.0
    """Sampling temperature at the endpoint; null uses the endpoint's own. (`reflect_temperature` is that of ``self``
    and ``policy``.)"""

    reflector_max_tokens: int | None = 4096
    """Longest reply of the endpoint in tokens, reasoning included; null uses the endpoint's own."""

    reflector_timeout: float = 120.0
    """Most seconds for one request, from the connection to the last byte of the reply, or for a call of a function."""

    reflector_retries: int = 3
    """Tries after the first, for a request that failed for a temporary reason."""

    reflector_phrases: list[str] | None = None
    """Phrases of the ``phrases`` reflector; by default a bank of general strategies."""

    reflector_max_phrases: int = 8
    """Most phrases in one template of the ``phrases`` reflector."""
