"""The leak guard: keeps answers and copies of samples out of templates, and templates from samples they give away."""

from .answers import leaks_answer
from .guard import LeakConfig, LeakGuard

__all__ = ["LeakConfig", "LeakGuard", "leaks_answer"]
