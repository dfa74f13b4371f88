"""Writes docs/terminal/: what `p2o train quickstart` shows on terminals of 120 and 80 columns, and its log in a file.

    python benchmarks/terminal_text.py [120 80 log]

Each of the three is a run of its own, of one to three minutes on two cores. At a width the command runs in a
pseudo-terminal of so many columns; an emulator (pyte) keeps what stands on its screen, and that is written: once during
the evolution, once during training, and all that stood there at the end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyte

OUT = Path(__file__).resolve().parents[1] / "docs" / "terminal"
COMMAND = ["train", "quickstart"]
ROWS = 24
"""Of the terminal."""
HISTORY = 10_000
"""Lines above the screen that are kept."""
REDRAWN = b"\r\x1b[2K"
"""With this rich begins to redraw its live lines: just before it the screen is whole."""
MOMENTS = {
    "the last screen seen during the evolution after epoch 1": "evolution before epoch",
    "the last screen seen of step 60": " 60/160",
}
"""What is shown of the run while it lasts → the text by which it is recognised."""
LIMIT = 10_000
"""Bytes that the log in a file may have."""


def run_at(columns: int, folder: Path, command: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Runs p2o in a terminal, see `python_at`.

    Args:
        command: p2o's arguments.
    """
    return python_at(columns, folder, ["-m", "p2o", *command])


def python_at(columns: int, folder: Path, words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Runs Python in a terminal.

    Args:
        columns: of the terminal.
        folder: to run in.
        words: Python's arguments.

    Returns:
        The lines of the screen at each of `MOMENTS` that was seen, and all lines of the terminal at the end.
    """
    screen = pyte.HistoryScreen(columns, ROWS, history=HISTORY, ratio=1)
    stream = pyte.ByteStream(screen)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    seen: dict[str, list[str]] = {}
    for drawn, whole in _drawings(terminal):
        stream.feed(drawn)
        if whole:
            shown = _stripped(screen.display)
            seen |= {moment: shown for moment, text in MOMENTS.items() if any(text in line for line in shown)}
    if status := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit(f"it ended with {status}:\n" + "\n".join(_stripped(screen.display)))
    above = ["".join(line[n].data for n in range(columns)) for line in screen.history.top]
    ordered = {moment: seen[moment] for moment in MOMENTS if moment in seen}
    return ordered, _stripped([*above, *screen.display])


def _drawings(terminal: int) -> Iterator[tuple[bytes, bool]]:
    """The output of a terminal's program, in pieces; and whether the screen is whole after the piece."""
    waiting = b""
    while True:
        try:
            waiting += os.read(terminal, 65536)
        except OSError:  # how a pseudo-terminal says that its program has ended
            break
        *drawn, waiting = waiting.split(REDRAWN)
        for piece in drawn:
            yield piece, True
            yield REDRAWN, False
    yield waiting, False


def _stripped(lines: Sequence[str]) -> list[str]:
    """Lines without spaces at their ends, and without empty ones at the end of all."""
    return "\n".join(line.rstrip() for line in lines).rstrip().split("\n")


def as_text(seen: dict[str, list[str]], at_end: list[str]) -> str:
    """The file of one width."""
    parts = [f"$ p2o {' '.join(COMMAND)}"]
    parts += [f"[{moment}]\n\n" + "\n".join(lines) for moment, lines in seen.items()]
    parts.append("[all that stands there at the end]\n\n" + "\n".join(at_end))
    return "\n\n".join(parts) + "\n"


def log_of(folder: Path, command: Sequence[str]) -> str:
    """The output of p2o in a file; the error output must be empty."""
    done = subprocess.run(
        [sys.executable, "-m", "p2o", *command], cwd=folder, capture_output=True, text=True, check=True
    )
    if done.stderr:
        raise SystemExit(f"on stderr: {done.stderr}")
    if len(done.stdout.encode()) > LIMIT:
        raise SystemExit(f"the log has {len(done.stdout.encode())} bytes, more than {LIMIT}")
    return done.stdout


def write(name: str, text: str) -> None:
    """Writes one file, and says how large it is."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text.encode())} bytes, longest line {max(map(len, text.splitlines()))}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["120", "80", "log"]:
        with tempfile.TemporaryDirectory() as place:
            if wanted == "log":
                write("quickstart.log", log_of(Path(place), COMMAND))
            else:
                write(f"quickstart-{wanted}.txt", as_text(*run_at(int(wanted), Path(place), COMMAND)))
