"""How many metric calls (scored rollouts) an evolution may spend."""

from __future__ import annotations

import difflib
import math

from ...errors import ConfigError

CANDIDATES = {
    "light": 6,
    "medium": 12,
    "heavy": 18,
    "heavy_2": 36,
    "heavy_3": 54,
    "heavy_4": 72,
    "heavy_16": 288,
}
"""Name → number n of candidates in the formula (DSPy's three, and the multiples of P²O's reference)."""

_MINIBATCH = 35
_FULL_EVAL_EVERY = 5


def budget(auto: str | int, dev_size: int) -> int:
    """Metric calls for a budget by name or by number.

    DSPy's ``auto`` formula with one predictor: with n candidates, N = ⌊max(4·log2 n, 1.5·n)⌋ trials and
    V dev samples, ``V + 5n + 35N + (⌊(N+1)/5⌋ + 1 + [N<5])·V``.

    Args:
        auto: a name of `CANDIDATES`, or a number, which is the budget itself (digits in a string too).
        dev_size: V, samples in the dev part.

    Raises:
        ConfigError: an unknown name, or a number below 1.
    """
    if isinstance(auto, str) and auto.strip().isdecimal():
        auto = int(auto)
    if isinstance(auto, int):
        if isinstance(auto, bool) or auto < 1:
            raise ConfigError(f"the evolution's budget is {auto}; it must be at least 1 metric call")
        return auto
    if auto not in CANDIDATES:
        near = difflib.get_close_matches(auto, CANDIDATES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"there is no evolution budget {auto!r} (did you mean {near}?); use {', '.join(CANDIDATES)}, or a number "
            "of metric calls"
        )
    n = CANDIDATES[auto]
    trials = int(max(4 * math.log2(n), 1.5 * n))
    full_evals = (trials + 1) // _FULL_EVAL_EVERY + 1 + (trials < _FULL_EVAL_EVERY)
    return dev_size + 5 * n + _MINIBATCH * trials + full_evals * dev_size
