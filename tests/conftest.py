"""Shared by all tests: no network, and a trainer on the built-in policy."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture
def policy_path() -> str:
    from p2o.models import resolve_model

    return resolve_model("builtin:sandbox")
