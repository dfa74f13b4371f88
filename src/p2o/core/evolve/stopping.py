"""When an evolution ends before its budget is spent."""

from __future__ import annotations

from .config import EvolveConfig

IDLE_ITERATIONS = 5
"""The evolution ends after this many iterations in a row without a new rollout."""

Standing = tuple[float, int]
"""(Best mean dev reward, dev samples that the pool solves)."""


class Stopping:
    """Counts iterations in a row: without a usable reply, without a new rollout, without progress."""

    def __init__(self, config: EvolveConfig) -> None:
        self.config = config
        self.silent = self.idle = self.flat = 0
        self._best: Standing | None = None

    def hear(self, silent: bool) -> None:
        """Notes whether all replies of an iteration were failures."""
        self.silent = self.silent + 1 if silent else 0

    def see(self, rolled_out: bool, standing: Standing) -> None:
        """Notes whether an iteration made rollouts, and where the pool stands after it."""
        self.idle = 0 if rolled_out else self.idle + 1
        if standing[1] == 0:  # as long as nothing is found there is nothing to be content with
            return
        best = standing if self._best is None else (max(standing[0], self._best[0]), max(standing[1], self._best[1]))
        self.flat = 0 if best != self._best else self.flat + 1
        self._best = best

    def reason(self, iteration: int, failures: str) -> tuple[str, str]:
        """(Why the evolution should end after this iteration, or ""; a sentence for the user, or "").

        Args:
            iteration: its number.
            failures: the failed calls of the reflector, for the sentence.
        """
        if self.silent >= self.config.reflector_patience:
            return "reflector", (
                f"The reflector failed on every job of {self.silent} iterations in a row "
                f"({failures or 'empty replies'}): the evolution ended early, after iteration {iteration}."
            )
        if self.idle >= IDLE_ITERATIONS:
            return "idle", (
                f"Nothing new to score in {self.idle} iterations in a row (proposals repeated or "
                "refused, or minibatches already solved): the evolution ended before its budget."
            )
        if self.config.max_iterations is not None and iteration >= self.config.max_iterations:
            return "iterations", ""
        if self.config.patience is not None and self.flat >= self.config.patience:
            return "patience", ""
        return "", ""
