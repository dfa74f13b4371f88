"""The leak guard: keeps answers and copies of samples out of templates, and templates from samples they give away."""

from .answers import HeldAnswers, leaks_answer
from .guard import LeakConfig, LeakGuard

__all__ = ["HeldAnswers", "LeakConfig", "LeakGuard", "leaks_answer"]
