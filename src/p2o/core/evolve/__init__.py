"""Evolution of prompt templates over the hard set. Imports no engine, and gepa and openai only when used."""

from ...reflectors.endpoint import OpenAIReflector
from ...reflectors.phrases import GENERAL_BANK, PhrasesReflector
from .budget import budget
from .config import EvolveConfig
from .leak import LeakConfig, LeakGuard, leaks_answer
from .reflector import BatchReflector, CallableReflector, ReflectionJob, Reflector, Reply
from .result import Candidate, Evolution, EvolveCost, EvolveProgress
from .run import evolve

__all__ = [
    "GENERAL_BANK",
    "BatchReflector",
    "CallableReflector",
    "Candidate",
    "Evolution",
    "EvolveConfig",
    "EvolveCost",
    "EvolveProgress",
    "LeakConfig",
    "LeakGuard",
    "OpenAIReflector",
    "PhrasesReflector",
    "ReflectionJob",
    "Reflector",
    "Reply",
    "budget",
    "evolve",
    "leaks_answer",
]
