"""What each room loads: the core no engine, the command line nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import p2o

SRC = Path(p2o.__file__).parent
ENGINES = {"torch", "transformers", "trl", "accelerate", "datasets", "verl", "vllm", "ray", "peft"}
WITH_TORCH = {"p2o.core.distill", "p2o.core.divergence", "p2o.core.engine_ratio", "p2o.core.ratio_log"}
"""They compute on tensors."""


def modules_of(*rooms: str) -> set[str]:
    paths = [path.relative_to(SRC.parent).with_suffix("") for room in rooms for path in (SRC / room).rglob("*.py")]
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


def imported_by(modules: Iterable[str]) -> set[str]:
    code = f"import sys, json, {', '.join(sorted(modules))}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(output))


@pytest.mark.parametrize(
    ("modules", "engines"),
    [
        (modules_of("base", "core") - WITH_TORCH, set()),
        (WITH_TORCH, {"torch"}),
        ({"p2o", "p2o.cli.main", "p2o.data", "p2o.rewards", "p2o.reflectors"}, set()),
    ],
    ids=["base and core", "what computes on tensors", "command line, data, rewards, reflectors"],
)
def test_which_engines_are_loaded(modules: set[str], engines: set[str]) -> None:
    assert imported_by(modules) & ENGINES == engines
