"""Shared by all tests: no network, and a trainer on the built-in policy."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """A file of tests leaves the environment as it was: TRL's colocate mode sets RANK and WORLD_SIZE in its process,
    which a later file's subprocess would take for a launcher's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def policy_path() -> str:
    from p2o.generation.models import resolve_model

    return resolve_model("builtin:sandbox")
