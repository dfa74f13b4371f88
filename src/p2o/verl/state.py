"""What P²O adds to a checkpoint of verl. Does not import verl."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.files import read_json, write_json
from ..base.lock import locked
from ..core.stored import SCHEMA
from ..data.fingerprint import data_difference
from ..errors import StateError

STATE_FILE = "p2o_state.json"
"""In verl's folders ``global_step_N``."""


LOCK_FILE = ".lock"
"""In ``trainer.default_local_dir``."""


def claim(run_dir: Path) -> ExitStack:
    """Keeps other processes out of a run's folder, until the result is closed or the process ends.

    Raises:
        ConfigError: another process trains there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    stack = ExitStack()
    stack.enter_context(
        locked(
            run_dir / LOCK_FILE,
            f"another run trains in {run_dir}; wait for its end, or choose another trainer.default_local_dir",
        )
    )
    return stack


@dataclass
class RunState:
    """The state of the joint loop, what the run has cost, and what it is trained on."""

    loop: dict[str, Any]
    cost: dict[str, Any]
    data: dict[str, Any]
    """The fingerprint of the training data (`p2o.data.fingerprint`)."""

    def save(self, folder: Path) -> None:
        """Writes it into a checkpoint's folder."""
        write_json(folder / STATE_FILE, vars(self), SCHEMA)

    @classmethod
    def load(cls, folder: Path, data: Mapping[str, Any]) -> RunState:
        """Reads it from a checkpoint's folder.

        Args:
            data: the fingerprint of the data at hand.

        Raises:
            StateError: the checkpoint is of another trainer or version, or the data is not what it was.
        """
        if not (folder / STATE_FILE).exists():
            raise StateError(
                f"{folder} is a checkpoint of another trainer (it has no {STATE_FILE}); choose another "
                "trainer.default_local_dir, and give its weights as actor_rollout_ref.model.path to train on from them"
            )
        content = read_json(folder / STATE_FILE, SCHEMA)
        try:
            state = cls(**content)
        except TypeError as error:
            raise StateError(f"{folder / STATE_FILE} is of another version of p2o ({error})") from error
        changed = data_difference(state.data, data)
        if changed:
            raise StateError(
                f"{folder} cannot be continued from: the training data is not what it was ({changed}); use the same "
                "data, or choose another trainer.default_local_dir"
            )
        return state
