"""A sample's solution, for the methods that need one (`p2o.core.methods`); nothing else reads it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .samples import Sample

SOLUTION = "solution"
"""Column with a right solution as text, as the policy could write it."""
STEPS = "solution_steps"
"""Column with the solution told in steps, a list of texts to be shown (it need not be there)."""

_STEP = re.compile(r"\S.*?(?:[.;!?](?=\s)|$)", re.MULTILINE)
_NAMED = 3


def steps_of(sample: Sample) -> Sequence[str]:
    """The steps of a solution that may be shown.

    They are those of the column `STEPS`; without it the lines and sentences of the text, but for the last one, which
    states the answer.
    """
    steps: Sequence[str] | None = sample.columns.get(STEPS)
    return steps if steps is not None else _STEP.findall(solution_of(sample))[:-1]


def solution_of(sample: Sample) -> str:
    """The text of the solution; "" without one."""
    return solution_in(sample.columns)


def solution_in(row: Mapping[str, Any]) -> str:
    """The text of the solution in a row of the data; "" without one."""
    solution = row.get(SOLUTION)
    return solution.strip() if isinstance(solution, str) else ""


def whole(sample: Sample) -> str:
    """All that a solution tells: the steps of the column `STEPS`, one a line, or else the text."""
    steps: Sequence[str] | None = sample.columns.get(STEPS)
    return solution_of(sample) if steps is None else "\n".join(steps)


def beginning(sample: Sample, part: int, parts: int) -> str:
    """The first ``part`` of ``parts`` of a solution's steps, one a line, rounded up to a whole step."""
    steps = steps_of(sample)
    return "\n".join(steps[: -(-part * len(steps) // parts)])


def check_solutions(samples: Mapping[str, Sample], who: str) -> None:
    """Raises ConfigError if a sample has no solution; the sentence names the rows.

    Args:
        who: needs them ("method luffy").
    """
    missing = [s.place or f"sample {s.id!r}" for s in samples.values() if not solution_of(s)]
    if missing:
        named = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        raise ConfigError(
            f"{who} needs a solution of every training sample, and {len(missing)} of {len(samples)} have no "
            f"text in the column {SOLUTION!r} ({named}); name the column in solution_column, or drop these rows"
        )
