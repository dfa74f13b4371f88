"""Texts of templates in the processes that roll out: each is sent to a process once, through Ray's object store, and
batches hold its number. (A batch's columns are copied for every rollout, so that K texts a sample would be K² there.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

_held: list[str] = [""]
"""The texts that this process knows, by number."""


def text_of(number: int) -> str:
    """The text with a number; 0 is "", the bare prompt."""
    return _held[number]


def hold(texts: Sequence[str], first: int) -> None:
    """Makes texts known in this process under the numbers from ``first``."""
    _held[first:] = texts


def _hold_in_worker(worker: Any, texts: Sequence[str], first: int) -> None:
    """Run in a rollout worker."""
    hold(texts, first)


class SharedTexts:
    """Gives texts their numbers, and sends new ones to the rollout workers.

    Args:
        workers: of verl's `AgentLoopManager`.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self.workers = workers
        self.numbers = {"": 0}

    def numbers_of(self, texts: Sequence[str]) -> list[int]:
        """The number of each text, which all workers know when this returns."""
        first = len(self.numbers)
        if new := [text for text in dict.fromkeys(texts) if text not in self.numbers]:
            self.numbers |= {text: first + n for n, text in enumerate(new)}
            hold(new, first)
            put = ray.put(new)
            ray.get([worker.__ray_call__.remote(_hold_in_worker, put, first) for worker in self.workers])
        return [self.numbers[text] for text in texts]
