"""Markdown: tables, and code blocks for text of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table. Each cell becomes one line, and its bars are escaped, so that no cell can break the table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def fenced(text: str) -> str:
    """A text that a model wrote, in a code block. Its fence is longer than any in the text, which cannot end it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
