"""The verl plug-in's tests need verl, in an environment of its own (docs/verl.md); elsewhere none is collected."""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent

verl = find_spec("verl")
if verl is None or verl.origin is None:  # this folder itself passes for a package without a file
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("VERL_PLATFORM", "cpu")
    import_module("cpu_shim")  # before verl looks for an accelerator


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray that stays for the runs of all tests: each is spared the seconds of its start."""
    from cluster import started

    with started(tmp_path_factory.mktemp("ray")) as address:
        yield address


@pytest.fixture(scope="module")
def shared_ray(cluster: str) -> Iterator[None]:
    """Lets the runs of a module share that Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", cluster)
        yield
