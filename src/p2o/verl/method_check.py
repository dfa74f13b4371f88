"""Which methods verl can train: those that need no hook, and no part of a credit, that has no place in its workers."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from ..core.credit import Credit
from ..core.given import gives
from ..core.methods import Method
from ..errors import ConfigError

HOOKS = (
    "order", "prompts", "credit", "rolls_out", "between_epochs", "state_dict", "load_state_dict", "pool", "given",
)  # fmt: skip
"""What of a method runs on verl (``given`` is a text about it)."""

CREDIT = ("weights", "old_logps", "trained_on", "drop_failed")
"""What of a credit runs on verl."""


def check_hooks(method: type[Method], name: str) -> None:
    """Raises ConfigError for a method that changes a hook that is not called on verl."""
    for hook, plain in vars(Method).items():
        own = getattr(method, hook)
        if not hook.startswith("_") and hook not in HOOKS and _unwrapped(own) != _unwrapped(plain):
            raise ConfigError(
                f"p2o.method={name} acts within a training step, which verl makes itself ({hook}); train with TRL"
            )


def _unwrapped(hook: object) -> object:
    return inspect.unwrap(hook) if callable(hook) else hook


def check_credits(credits: Iterable[Credit], name: str) -> None:
    """Raises ConfigError for a method whose credit has a part that is not computed on verl."""
    plain = Credit()
    others = [field.name for field in fields(Credit) if field.name not in CREDIT]
    for credit in credits:
        for part in others:
            if getattr(credit, part) != getattr(plain, part):
                raise ConfigError(
                    f"method {name} gives a Credit with {part!r}, which needs more than the log-probs of the drawn "
                    "tokens, and verl gives no more; give token weights, or train it with TRL"
                )


def check_given(assignment: Mapping[str, Sequence[str]], name: str) -> None:
    """Raises ConfigError for a method that gives whole completions."""
    if gives(assignment.values()):
        raise ConfigError(
            f"method {name} gives completions in place of rollouts, and verl draws all rows itself; train it with TRL"
        )
