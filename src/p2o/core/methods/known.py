"""The methods that come with the package, by name."""

from __future__ import annotations

from .base import Method
from .dapo import DAPO
from .grpo import GRPO
from .knapsack import Knapsack
from .p2o import P2O
from .zvp import ZVP

METHODS: dict[str, type[Method]] = {
    "grpo": GRPO,
    "p2o": P2O,
    "dapo": DAPO,
    "zvp": ZVP,
    "knapsack": Knapsack,
}
