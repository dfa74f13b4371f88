"""The methods that come with the package, by name."""

from __future__ import annotations

from .base import Method
from .dapo import DAPO
from .grpo import GRPO
from .hdpo import HDPO
from .knapsack import Knapsack
from .luffy import Luffy
from .p2o import P2O
from .prefix import Prefix
from .sage import Sage
from .scaf import Scaf, ScafSft, ScafShape
from .sdft import OPSD, SDFT
from .zvp import ZVP

METHODS: dict[str, type[Method]] = {
    "grpo": GRPO,
    "p2o": P2O,
    "dapo": DAPO,
    "zvp": ZVP,
    "knapsack": Knapsack,
    "prefix": Prefix,
    "sage": Sage,
    "scaf": Scaf,
    "scaf_sft": ScafSft,
    "scaf_shape": ScafShape,
    "luffy": Luffy,
    "hdpo": HDPO,
    "sdft": SDFT,
    "opsd": OPSD,
}
