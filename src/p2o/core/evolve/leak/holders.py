"""Which samples hold what, in 12 bytes for each: the texts of a large hard set have millions of different threes."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np


class Holders:
    """The samples that hold a key. Keys are hashes, whole numbers of 64 bits.

    Args:
        keys: of each sample, in the samples' order; each key once.
    """

    def __init__(self, keys: Iterable[Collection[int]]) -> None:
        self._keys, self._sizes = array("q"), array("i")
        for held in keys:
            self._keys.extend(held)
            self._sizes.append(len(held))

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """All keys in order, and the sample of each; the samples of one key in order too."""
        keys_N = np.frombuffer(self._keys, dtype=np.int64)
        sizes = np.frombuffer(self._sizes, dtype=np.int32)
        samples_N = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        order_N = np.argsort(keys_N, kind="stable")
        return keys_N[order_N], samples_N[order_N]

    def counts(self, keys: Sequence[int]) -> list[int]:
        """How many samples hold each of the keys."""
        wanted = np.array(keys, dtype=np.int64)
        counted: Any = np.searchsorted(self._sorted[0], wanted, "right") - np.searchsorted(self._sorted[0], wanted)
        return list(map(int, counted))

    def of(self, key: int) -> list[int]:
        """The numbers of the samples that hold a key, in order."""
        keys_N, samples_N = self._sorted
        wanted = np.int64(key)
        held = samples_N[np.searchsorted(keys_N, wanted) : np.searchsorted(keys_N, wanted, "right")]
        return list(map(int, held))
