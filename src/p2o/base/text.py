"""Text from outside: shortens it, makes it valid, and makes it safe to show."""

from __future__ import annotations

import re
from pathlib import Path

_CUT = " […] "

_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erasing
    r"|\x1b[ -/]*[0-~]"  # the short ones
)
"""Whole escape sequences of a terminal (ECMA-48) with their content. One of them, OSC 52, writes to the clipboard."""

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")

_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides, isolates
    "\ufff9-\ufffb\U000e0000-\U000e007f]"  # annotations and tags: text that is not shown
)


def shorten(text: str, limit: int) -> str:
    """The text with its middle cut out, so that at most ``limit`` characters are left."""
    if len(text) <= limit:
        return text
    room = max(0, limit - len(_CUT))
    head = (room + 1) // 2
    return (text[:head] + _CUT + text[len(text) - (room - head) :])[:limit]


def valid_text(text: str) -> str:
    """The text with question marks for lone surrogates, which tokenizers and terminals refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_text(text: str) -> str:
    """The text without terminal control sequences and without invisible characters.

    Removed are escape sequences with their content, control characters (tab and line feed stay) and bidirectional
    overrides. Every line end becomes a line feed, and a lone surrogate becomes a question mark.
    """
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", _ESCAPES.sub("", valid_text(text))))


def counted(number: int, noun: str) -> str:
    """``1 sample``, ``1,200 samples``: a number and its noun, whose plural ends with s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def last_words(log: Path) -> str:
    """Why a process of p2o ended, from the file with what it printed: its own sentence, or else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line.startswith("p2o: ")] or [line for line in lines if line] or ["no output"]
    return said[-1].removeprefix("p2o: ")


def one_line(text: str, limit: int = 200) -> str:
    """The text cleaned, on one line, at most ``limit`` characters, so that a sentence can quote it."""
    return shorten(" ".join(clean_text(text).split()), limit)
