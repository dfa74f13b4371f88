"""A pytest plugin that runs TRL's own trainer tests on stand-ins, with the trainer of choice in GRPOTrainer's place.

`trl_suite.py` starts pytest with it and says through the environment: ``P2O_SUITE_ARM`` (``trl``, ``p2o``, or
``p2o-config``: P2OConfig in GRPOConfig's place too), ``P2O_SUITE_DATA`` (a folder for the data sets),
``P2O_SUITE_OUT`` (where the outcomes go, one JSON line a test) and ``P2O_SUITE_SECONDS`` (the limit of one test).
"""

from __future__ import annotations

import json
import os
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

# Before the checkout's folder is on the path: the installed TRL is the one that is tested.
from trl import import_utils  # isort: skip

import pytest

from stand_in_data import build_data, redirected
from stand_in_tokenizer import TranslatingTorch

ARM = os.environ["P2O_SUITE_ARM"]
DATA = Path(os.environ["P2O_SUITE_DATA"])
OUT = Path(os.environ["P2O_SUITE_OUT"])
SECONDS = int(os.environ["P2O_SUITE_SECONDS"])


def replacements() -> dict[str, Any]:
    """What stands in the test module in place of TRL's names."""
    if ARM == "trl":
        return {}
    from p2o import P2OConfig, P2OTrainer

    return {"GRPOTrainer": P2OTrainer} | ({"GRPOConfig": P2OConfig} if ARM == "p2o-config" else {})


def _is_available(name: str) -> Callable[[], bool]:
    """For a checkout that is older than the installed TRL, whose tests import checks that are gone."""
    found = re.fullmatch(r"is_(\w+)_available", name)
    if found is None:
        raise AttributeError(name)
    return lambda: find_spec(found[1]) is not None


import_utils.__getattr__ = _is_available  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = build_data(items[0].config.rootpath, DATA)
    for module in {item.getparent(pytest.Module).obj for item in items}:  # type: ignore[union-attr]
        assert Path(import_utils.__file__).parent not in Path(module.__file__).parents
        module.torch = TranslatingTorch()
        module.load_dataset = redirected(module.load_dataset, folders)
        for name, replacement in replacements().items():
            setattr(module, name, replacement)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Ends a test that takes too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Writes the outcome; before the checkout's own hook, which takes the traceback away."""
    error = call.excinfo
    where = [] if error is None else traceback.extract_tb(error.tb)
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call" or report.outcome != "passed":
        reason = str(report.longrepr[-1]) if report.skipped and isinstance(report.longrepr, tuple) else ""
        line = {
            "test": item.nodeid.partition("::")[2],
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
            "error": reason if error is None or report.skipped else f"{error.typename}: {error.value}",
            "where": [f"{frame.filename}:{frame.lineno} {frame.name}: {frame.line}" for frame in where],
        }
        with OUT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return report
