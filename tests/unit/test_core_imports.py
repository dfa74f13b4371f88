"""The core imports no engine, and the package imports quickly."""

import json
import subprocess
import sys

import pytest

ENGINES = ["torch", "transformers", "trl", "accelerate", "datasets", "verl", "vllm", "ray", "peft"]
CORE = [
    "p2o",
    "p2o.samples",
    "p2o.hard",
    "p2o.templates",
    "p2o.evolve",
    "p2o.cost",
    "p2o.loop",
    "p2o.store",
    "p2o.cli",
]


def imported_by(modules: list[str]) -> set[str]:
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(output))


def test_core_imports_no_engine():
    assert imported_by(CORE).isdisjoint(ENGINES)


def test_distill_needs_torch_alone():
    assert imported_by(["p2o.distill"]).isdisjoint(set(ENGINES) - {"torch"})


@pytest.mark.parametrize("module", ["p2o.data", "p2o.rewards"])
def test_data_and_rewards_import_no_engine(module):
    assert imported_by([module]).isdisjoint(ENGINES)
