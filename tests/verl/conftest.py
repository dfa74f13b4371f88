"""The verl plug-in's tests need verl, in an environment of its own (docs/verl.md); elsewhere none is collected."""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent

verl = find_spec("verl")
if verl is None or verl.origin is None:  # this folder itself passes for a package without a file
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("VERL_PLATFORM", "cpu")
    import_module("cpu_shim")  # before verl looks for an accelerator
