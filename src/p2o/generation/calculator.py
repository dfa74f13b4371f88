"""The calculator of the recipe ``quickstart-tools``."""

from __future__ import annotations

import re

ONE_AT_A_TIME = "one operation at a time"


def calc(sum: str) -> str:
    """Calculates one operation.

    Args:
        sum: Two whole numbers with a sign between them, such as 47*85.

    Returns:
        The result.
    """
    found = re.fullmatch(r"(\d{1,9})([-+*])(\d{1,9})", sum)
    if found is None:
        raise ValueError(ONE_AT_A_TIME)
    a, b = int(found[1]), int(found[3])
    return str({"+": a + b, "-": a - b, "*": a * b}[found[2]])
