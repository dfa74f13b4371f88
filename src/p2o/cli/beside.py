"""The program of the second process of a run with ``evolve_beside`` (`p2o.runs.second_process`); not for people."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .main import explained


def main() -> int:
    """Evolves what the folder that it is given asks for."""
    from ..runs.beside import end_with_the_run, evolve_beside

    words = json.loads(sys.stdin.readline())
    end_with_the_run(sys.stdin)
    evolve_beside(Path(sys.argv[1]), words)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
