"""Methods against groups without spread, one file each. A method changes one or more of four things in GRPO
(`base.Method`); the trainers know these four hooks and no method."""

from .base import EpochEnd, Method, PromptTools
from .beside import Elsewhere, Task
from .load import evolves_templates, load_method

__all__ = ["Elsewhere", "EpochEnd", "Method", "PromptTools", "Task", "evolves_templates", "load_method"]
