"""Refuses, on import, a TRL whose private methods were not checked.

`P2OTrainer` wraps methods that TRL does not promise to keep: from one minor version to the next their arguments and
return values change. `tests/contract/test_trl.py` says which ones and what is relied on.
"""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version

from ..errors import VersionError

TRL = (1, 16)
"""The minor version of TRL that is wrapped; ``pyproject.toml`` requires the same."""


def check_trl(installed: str) -> None:
    """Raise VersionError unless ``installed`` is of the minor version `TRL`."""
    if Version(installed).release[:2] == TRL:
        return
    wanted = f"{TRL[0]}.{TRL[1]}"
    raise VersionError(
        f"p2o works with TRL {wanted}.x, but TRL {installed} is installed; "
        f"run pip install 'trl>={wanted},<{TRL[0]}.{TRL[1] + 1}'"
    )


check_trl(version("trl"))
