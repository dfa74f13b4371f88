"""The core imports no engine, and the package imports quickly."""

import json
import subprocess
import sys

import pytest

ENGINES = ["torch", "transformers", "trl", "accelerate", "datasets", "verl", "vllm", "ray", "peft"]
CORE = [
    "p2o",
    "p2o.core.samples",
    "p2o.core.hard",
    "p2o.core.templates",
    "p2o.core.evolve",
    "p2o.core.cost",
    "p2o.core.loop",
    "p2o.base.files",
    "p2o.cli.main",
]


def imported_by(modules: list[str]) -> set[str]:
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(output))


def test_core_imports_no_engine():
    assert imported_by(CORE).isdisjoint(ENGINES)


def test_distill_needs_torch_alone():
    assert imported_by(["p2o.core.distill"]).isdisjoint(set(ENGINES) - {"torch"})


@pytest.mark.parametrize("module", ["p2o.data", "p2o.rewards"])
def test_data_and_rewards_import_no_engine(module):
    assert imported_by([module]).isdisjoint(ENGINES)
