"""Evolution of prompt templates over the hard set. Imports no engine, and gepa and openai only when used."""

from p2o.evolve.budget import budget
from p2o.evolve.config import EvolveConfig
from p2o.evolve.leak import LeakConfig, LeakGuard, leaks_answer
from p2o.evolve.openai_reflector import OpenAIReflector
from p2o.evolve.phrases import GENERAL_BANK, PhrasesReflector
from p2o.evolve.reflectors import BatchReflector, CallableReflector, ReflectionJob, Reflector, Reply
from p2o.evolve.result import Candidate, Evolution, EvolveCost, EvolveProgress
from p2o.evolve.run import evolve

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
