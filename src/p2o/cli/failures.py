"""Failures of torch that have a cause which a user can change: one sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..base.text import one_line
from ..errors import ConfigError

OUT_OF_MEMORY = (
    "the memory is used up; lower per_device_train_batch_size, max_completion_length or evolve_batch_size, or take a "
    "smaller model (p2o train with --dry-run estimates what a recipe needs)"
)
KNOWN = (
    (
        "probability tensor contains",
        "the policy's weights are no longer finite numbers; lower learning_rate, or set max_grad_norm",
    ),
    ("out of memory", OUT_OF_MEMORY),
    ("can't allocate memory", OUT_OF_MEMORY),
    ("Unable to allocate", OUT_OF_MEMORY),
)
"""Words of torch and numpy, and what to say."""


@contextmanager
def failures_explained() -> Iterator[None]:
    """Inside, a failure of a known cause becomes a ConfigError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error) or "out of memory"  # Python's own error says nothing
        said = next((sentence for words, sentence in KNOWN if words in text), None)
        if said is None:
            raise
        raise ConfigError(f"{said} ({one_line(text)})") from error
