"""Methods against groups without spread, one file each. A method changes one or more of four things in GRPO
(`base.Method`); the trainers know these four hooks and no method."""

from .base import EpochEnd, Method, PromptTools
from .load import evolves_templates, load_method

__all__ = ["EpochEnd", "Method", "PromptTools", "evolves_templates", "load_method"]
