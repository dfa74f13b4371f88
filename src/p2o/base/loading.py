"""A user's module, by its name or by its file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any


def load_module(place: str) -> Any:
    """``package.module`` or ``path/to/file.py``. Raises what the import raises; FileNotFoundError for no file."""
    return _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickle look a function's module up there
    spec.loader.exec_module(module)
    return module
