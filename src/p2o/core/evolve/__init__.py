"""Evolution of prompt templates over the hard set. Imports no engine, and gepa only when an evolution runs."""

from .budget import budget
from .config import EvolveConfig
from .leak import HeldAnswers, LeakConfig, LeakGuard, leaks_answer
from .reflector import ReflectionJob, Reflector, Reply
from .result import Candidate, Evolution, EvolveCost, EvolveProgress
from .run import evolve

__all__ = [
    "Candidate",
    "Evolution",
    "EvolveConfig",
    "EvolveCost",
    "EvolveProgress",
    "HeldAnswers",
    "LeakConfig",
    "LeakGuard",
    "ReflectionJob",
    "Reflector",
    "Reply",
    "budget",
    "evolve",
    "leaks_answer",
]
