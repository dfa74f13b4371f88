"""Writes docs/terminal/: what `p2o train quickstart` shows on terminals of 120 and 80 columns, and its log in a file.

python benchmarks/terminal_text.py            # three runs of about a minute each
python benchmarks/terminal_text.py 80         # one of them: 120, 80 or log
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).resolve().parents[1] / "docs" / "terminal"
COMMAND = ["p2o", "train", "quickstart", *os.environ.get("P2O_TERMINAL_SETTINGS", "").split()]
LIMIT = 10_000
"""Bytes that the log in a file may have."""
TOKENS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)|\x1b")


class Screen:
    """A terminal that understands what is redrawn in place: carriage return, cursor up, erase line."""

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        """Takes what a process wrote."""
        for numbers, letter, home, newline, written in TOKENS.findall(text):
            if home:
                self.column = 0
            elif newline:
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif letter == "A":
                self.row = max(0, self.row - int(numbers or 1))
            elif letter == "K":
                self.lines[self.row] = ""
            elif written:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + written + line[self.column + len(written) :]
                self.column += len(written)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip() + "\n"


def chunks_on_terminal(columns: int, folder: str) -> Iterator[str]:
    """What the command writes to a terminal of so many columns, piece by piece."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(COMMAND, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    rest = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        rest += data
        whole = rest.decode("utf-8", "ignore")
        rest = b"" if len(whole.encode()) == len(rest) else rest[len(whole.encode()) :]
        yield whole
    if process.wait():
        raise SystemExit(f"the command failed: {process.returncode}")


def on_terminal(columns: int) -> str:
    """The screen at the end, and before it two moments of the part that is redrawn."""
    screen = Screen()
    moments: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for chunk in chunks_on_terminal(columns, folder):
            screen.feed(chunk)
            last = "\n".join(line.rstrip() for line in screen.lines[-6:]).strip("\n")
            step = re.search(r"training .* (\d+)/(\d+) +steps", last)
            if "best so far" in last and "evolution before epoch 2" in last:
                moments["while templates evolve"] = last[last.index("best so far") :]
            elif step and 2 * int(step[1]) > int(step[2]) and "     step" in last:
                moments.setdefault("during training", last[last.index("     step") :])
        text = screen.text.replace(folder, "")
    shown = "".join(f"[the last lines, {when}]\n\n{what}\n\n" for when, what in moments.items())
    return f"$ {' '.join(COMMAND)}\n\n{shown}[all that stays]\n\n{text}"


def in_file() -> str:
    """The log of the command when its output goes to a file, both streams. The run stays in P2O_TERMINAL_KEEP, if that
    folder is named."""
    with tempfile.TemporaryDirectory() as folder:
        place = os.environ.get("P2O_TERMINAL_KEEP", folder)
        done = subprocess.run(COMMAND, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(done.stdout)
    size = len(done.stdout.encode())
    if size > LIMIT:
        raise SystemExit(f"the log has {size} bytes, more than {LIMIT}")
    return done.stdout


def main(which: list[str]) -> None:
    """Writes the files that are asked for, or all."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in which or ["120", "80", "log"]:
        text = in_file() if name == "log" else on_terminal(int(name))
        path = OUT / (f"quickstart-{name}.txt" if name != "log" else "quickstart.log")
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {len(text.encode())} bytes, longest line {max(map(len, text.splitlines()))}")


if __name__ == "__main__":
    main(sys.argv[1:])
