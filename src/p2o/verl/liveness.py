"""A process of verl's that dies ends the run with a sentence. verl itself waits for its rollouts for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayActorError

from ..base.text import one_line
from ..errors import P2OError

CONTINUES = "the same command continues from the newest checkpoint"


class ProcessError(P2OError):
    """A process of verl's ended while the run needed it."""


class Watchman:
    """Asks processes for a sign of life, without waiting for it: a busy process answers late, a dead one fails.

    Args:
        actors: what they are, for the sentence → their Ray handles.
    """

    def __init__(self, actors: Mapping[str, Sequence[Any]]) -> None:
        self.asked = {_ask(actor): (name, actor) for name, group in actors.items() for actor in group}

    def check(self) -> None:
        """Raises ProcessError if one of the processes has died."""
        answered, _ = ray.wait(list(self.asked), num_returns=len(self.asked), timeout=0)
        for answer in answered:
            name, actor = self.asked.pop(answer)
            try:
                ray.get(answer)
            except RayActorError as error:
                raise died(name, error) from error
            self.asked[_ask(actor)] = (name, actor)


def _ask(actor: Any) -> Any:
    return actor.__ray_call__.remote(_here)


def _here(actor: Any) -> None:
    """Run in the process that is asked."""


def died(name: str, error: RayActorError) -> ProcessError:
    """The sentence on a process that is gone."""
    return ProcessError(f"a {name} of verl died, so the run ends ({one_line(str(error), 200)}); {CONTINUES}")


def check_at_each_poll(buffer: Any, check: Callable[[], None]) -> None:
    """Lets verl's replay buffer make a check whenever it looks for finished rollouts."""
    look = buffer._sync_metadata_from_transfer_queue

    def check_and_look() -> None:
        check()
        look()

    buffer._sync_metadata_from_transfer_queue = check_and_look


@contextmanager
def told_if_a_worker_dies() -> Iterator[None]:
    """Makes a ProcessError of the error with which Ray ends a call to a process that is gone."""
    try:
        yield
    except RayActorError as error:
        raise died("training worker", error) from error
