"""Checks the tests' environment: constraints-verl.txt against what is installed, and the pip line of docs/verl.md.

    python tests/verl/check_environment.py              # offline: installed versions against the constraints
    python tests/verl/check_environment.py --resolve    # and what pip would install into an empty environment

Prints what differs, and exits with 1 if anything does.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints-verl.txt"
TOOLS = {"pip", "setuptools", "p2o-rl", "pytest", "pytest-xdist", "hypothesis"}
"""Not of the run: pip's own, this package, and what its tests need."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    """Package → version; builds of one machine (``+cpu``) are left out."""
    lines = [line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line]
    return {plain(name): release.split("+")[0] for name, release in lines}


def installed_differences() -> list[str]:
    """What the running environment has in other versions than the constraints, and what they do not name."""
    wrong = []
    for name, wanted in constraints().items():
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            wrong.append(f"{name}: {found}, and the constraints say {wanted}")
    named = constraints().keys() | TOOLS
    return wrong + [f"{n}: no constraint" for d in distributions() if (n := plain(d.metadata["Name"])) not in named]


def resolved_differences() -> list[str]:
    """What ``pip install -c constraints-verl.txt '.[verl]'`` would install into an empty environment that is not what
    the constraints say."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        command = [f"{folder}/bin/pip", "install", "-q", "--dry-run", "--report", f"{folder}/report.json"]
        subprocess.run([*command, "-c", CONSTRAINTS, f"{ROOT}[verl]"], check=True)
        report = json.loads((Path(folder) / "report.json").read_text())
    chosen = {plain(p["metadata"]["name"]): p["metadata"]["version"].split("+")[0] for p in report["install"]}
    print(f"pip would install {len(chosen)} packages; verl {chosen.get('verl')}, torch {chosen.get('torch')}")
    return [
        f"{name}: pip takes {release}, and the constraints say {constraints().get(name, 'nothing')}"
        for name, release in chosen.items()
        if name not in TOOLS and constraints().get(name) != release
    ]


def main() -> int:
    wrong = installed_differences()
    print(f"{len(constraints())} constraints, Python {sys.version.split()[0]}, verl {version('verl')}")
    if "--resolve" in sys.argv:
        wrong += resolved_differences()
    print("\n".join(wrong) or "all as the constraints say")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
