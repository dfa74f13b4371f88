"""Makes a reflector from settings."""

from __future__ import annotations

from ..base.loading import load_function
from ..core.evolve import Reflector
from ..errors import ConfigError
from .callables import CallableReflector, TimedReflector
from .endpoint import OpenAIReflector
from .phrases import GENERAL_BANK, PhrasesReflector
from .settings import LOCAL, ReflectorSettings


def build_reflector(settings: ReflectorSettings) -> Reflector | str:
    """The reflector that the settings name. For "self" and "policy" it returns the word: the owner of the policy makes
    these.

    Raises:
        ConfigError: an unknown name, an endpoint without a model, or a function that cannot be loaded.
        ReflectorError: the key's environment variable is not set, or the function does not take one text.
    """
    name = settings.reflector
    if name in LOCAL:
        return name
    if name == "phrases":
        return PhrasesReflector(settings.reflector_phrases or GENERAL_BANK, settings.reflector_max_phrases)
    if name == "openai":
        return _endpoint(settings)
    if ":" in name:
        return CallableReflector(load_function(name, "reflector"), settings.reflector_timeout)
    raise ConfigError(f"reflector is {name!r}; use self, policy, openai, phrases, or module:function")


WITH_DEADLINES = (CallableReflector, OpenAIReflector, PhrasesReflector, TimedReflector)


def with_deadline(reflector: Reflector | str) -> Reflector | str:
    """The reflector; one of the user's own gets a total deadline (`TimedReflector`)."""
    return reflector if isinstance(reflector, (str, *WITH_DEADLINES)) else TimedReflector(reflector)


def _endpoint(settings: ReflectorSettings) -> OpenAIReflector:
    if not settings.reflector_model:
        raise ConfigError("reflector: openai needs reflector_model, the model's name at the endpoint")
    return OpenAIReflector(
        model=settings.reflector_model,
        base_url=settings.reflector_base_url,
        api_key_env=settings.reflector_api_key_env,
        concurrency=settings.reflector_concurrency,
        timeout=settings.reflector_timeout,
        retries=settings.reflector_retries,
        temperature=settings.reflector_temperature,
        max_tokens=settings.reflector_max_tokens,
    )
