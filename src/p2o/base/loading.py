"""Loads a user's module or function by its name or its file, and describes what it raised."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, P2OError
from .secrets import without_secrets
from .spelling import nearest
from .text import clean_text, one_line

MOST_ERROR_CHARS = 400


def load_function(
    spec: str, key: str, error: type[P2OError] = ConfigError, kind: Literal["function", "class"] = "function"
) -> Callable[..., Any]:
    """The function (or class) that ``module:function`` or ``file.py:function`` names.

    Args:
        key: the setting that holds the spec, for the error message.
        error: the class of the error.
        kind: "function" or "class", for the error message.

    Raises:
        error: there is no such module or function, or the module cannot be imported.
    """
    place, _, name = spec.rpartition(":")
    try:
        module = load_module(place)
    except (Exception, SystemExit) as e:  # a user's module may raise anything while it is imported
        raise error(
            f"{key}: {spec!r} cannot be loaded: {what_it_raised(e)}; write module:{kind} or file.py:{kind}"
        ) from e
    function = getattr(module, name, None)
    if not callable(function):
        raise error(f"{key}: {place} has no {kind} {name!r}{nearest(name, dir(module))}")
    return function  # type: ignore[no-any-return]


def load_module(place: str) -> Any:
    """``package.module`` or ``path/to/file.py``. Raises the error of the import; FileNotFoundError if
    there is no such file."""
    return _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)


def _load_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickle look a function's module up there
    spec.loader.exec_module(module)
    return module


def what_it_raised(error: BaseException) -> str:
    """A user's error on one line: its type, its text without secrets, and the last line of the user's own code."""
    text = one_line(without_secrets("".join(traceback.format_exception_only(error))), MOST_ERROR_CHARS)
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if not _of_a_library(frame.filename)]
    return f"{text} (in {clean_text(places[-1].filename)}, line {places[-1].lineno})" if places else text


def _of_a_library(filename: str) -> bool:
    """Whether a file is of an installed package, of Python, or of this package."""
    path, ours = Path(filename), Path(__file__).parents[1]
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    folders = (ours, Path(sysconfig.get_path("stdlib")))
    return bool(installed) or filename.startswith("<") or any(folder in path.parents for folder in folders)
