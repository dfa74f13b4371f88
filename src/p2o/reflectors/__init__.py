"""Reflectors write new templates: a phrase bank, a served model, a user's function."""

from .callables import BatchReflector, CallableReflector, TimedReflector
from .endpoint import OpenAIReflector
from .phrases import GENERAL_BANK, PhrasesReflector

__all__ = [
    "GENERAL_BANK",
    "BatchReflector",
    "CallableReflector",
    "OpenAIReflector",
    "PhrasesReflector",
    "TimedReflector",
]
