"""The program of the second process of a run with ``evolve_beside`` (`p2o.runs.second_process`); not for people."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from .main import explained


def end_with_the_run(pipe: TextIO) -> None:
    """Ends this process at once when the training's process has ended, which closes the pipe."""

    def watch() -> None:
        pipe.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Evolves what the folder that it is given asks for."""
    words = json.loads(sys.stdin.readline())
    end_with_the_run(sys.stdin)  # before the imports, which take seconds
    from ..runs.beside import evolve_beside

    evolve_beside(Path(sys.argv[1]), words)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
