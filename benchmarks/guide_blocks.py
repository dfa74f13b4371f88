"""Writes into docs/guide.md what the commands of its first example print: the screen, and two epochs of the training.

    python benchmarks/guide_blocks.py [screen train]

It writes the guide's files to a folder and runs its commands there, two to three minutes on two cores. Of what is
printed the lines below are kept; "…" stands for what is left out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guide.md"
FILE = re.compile(r"^`(\w+\.\w+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCREEN = ("builtin:", "all failed", "held-out", "distillation:", "  solved:", "best template:", "worth it", "not worth")
FIGURES = ("-- epoch", "  rollouts solved", "  no spread", "  samples", "  cost so far")
SAMPLE = ("-- epoch", "  rollouts solved", "  samples", "  question", "  bare, failed", "  templated, solved")
END = ("     ", " test")


def kept(lines: Sequence[str], beginnings: tuple[str, ...], gaps: bool = False) -> list[str]:
    """The lines that begin so; with ``gaps`` a "…" for each place where others were."""
    found: list[str] = []
    for line in lines:
        if line.startswith(beginnings):
            found.append(line.rstrip())
        elif gaps and found and found[-1] != "…":
            found.append("…")
    return found[:-1] if found[-1] == "…" else found


def epoch(lines: Sequence[str], number: int) -> list[str]:
    """The lines of an epoch's summary."""
    start = next(n for n, line in enumerate(lines) if line.startswith(f"-- epoch {number} of"))
    length = next((n for n, line in enumerate(lines[start + 1 :], 1) if line.startswith(("   step", "-- "))), None)
    return list(lines[start:][:length])


def with_block(page: str, before: str, lines: Sequence[str]) -> str:
    """The page with other lines in the indented block that follows a text.

    Raises:
        SystemExit: there is none.
    """
    block = "".join(f"    {line}".rstrip() + "\n" for line in lines)
    new, count = re.subn(rf"({re.escape(before)}\n\n)(?:    [^\n]*\n)+", lambda match: match[1] + block, page)
    if count != 1:
        raise SystemExit(f"no block behind {before!r} in {PAGE}")
    return new


def printed(command: str, folder: Path) -> list[str]:
    """The lines that a command prints."""
    program, *rest = shlex.split(command)
    words = [sys.executable, *(["-m", program] if program == "p2o" else []), *rest]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.splitlines()


def said(command: str, page: str) -> list[str]:
    """What one of the example's commands prints, in a folder of its own with the example's files and recipe."""
    commands = [c for block in COMMANDS.findall(page)[:3] for c in block.replace("\\\n", " ").splitlines()]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, text in FILE.findall(page):
            (folder / name).write_text(text, encoding="utf-8")
        for first in commands[:2]:  # the data and the recipe
            printed(first, folder)
        return printed(command, folder)


def screen_block(page: str) -> str:
    """The page with what the screen prints."""
    lines = [line.replace("│", " ").removeprefix("  ") for line in said("p2o screen own.yaml", page)]
    return with_block(page, "p2o screen own.yaml\n```", kept(lines, SCREEN, gaps=True))


def train_block(page: str) -> str:
    """The page with two epochs of the training, and its end."""
    train = said("p2o train own.yaml", page)
    end = train[max(n for n, line in enumerate(train) if "before" in line and "gained" in line) :]
    lines = [*kept(epoch(train, 2), FIGURES), *kept(epoch(train, 4), SAMPLE), "…", *kept(end, END)]
    return with_block(page, "Two of them, shortened:", lines)


BLOCKS: dict[str, Callable[[str], str]] = {"screen": screen_block, "train": train_block}


if __name__ == "__main__":
    for wanted in sys.argv[1:] or BLOCKS:
        PAGE.write_text(BLOCKS[wanted](PAGE.read_text(encoding="utf-8")), encoding="utf-8")
