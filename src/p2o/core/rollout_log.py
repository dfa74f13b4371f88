"""The rollouts that a run keeps for a person to read: one file of bounded size per epoch, `rollouts-EEE.json`.

Samples are stored by their id, and ratio counts by their step. Steps that are repeated after a resume overwrite what
they wrote before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import read_json, write_json
from ..base.text import shorten
from .stored import TextNumbers

if TYPE_CHECKING:
    import torch

MAX_SAMPLES = 200
"""Samples kept per epoch: those whose ids have the lowest hashes, so that the same samples are kept in every epoch."""
MAX_CHARS = 1200
"""Longer prompts and completions lose their middle."""
LOG10_EDGES = [round(-6 + 0.25 * n, 2) for n in range(37)]
"""Edges of the ratio histogram, log10 from -6 to 3. It counts what is below the first
and above the last edge too."""


@dataclass(frozen=True)
class LoggedRollout:
    """One rollout in the file of its epoch."""

    template: str
    completion: str
    reward: float
    solved: bool
    turns: Sequence[Sequence[str]] = ()
    """With tools: what was said, called and answered (`p2o.core.turns.turns`)."""


class RolloutLog:
    """The running epoch's rollouts of samples that are hard or were hard before, and its ratios.

    Args:
        folder: the folder of the files.
        max_samples: most samples in one epoch's file.
    """

    def __init__(self, folder: Path, max_samples: int = MAX_SAMPLES) -> None:
        self.folder = folder
        self.max_samples = max_samples
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Starts the log of an epoch."""
        self.epoch = epoch
        self.templates = TextNumbers()
        self._last: str | None = None  # the sample that makes room for the next one; None: not looked for yet
        self.samples: dict[str, dict[str, Any]] = {}
        self.ratio_counts: dict[str, list[int]] = {}

    def resume(self, epoch: int) -> None:
        """Continues an epoch that was interrupted. Later steps in its file are overwritten when they are repeated."""
        self.begin(epoch)
        if self.path.exists():
            kept = read_json(self.path)
            self.templates, self.samples = TextNumbers(kept["templates"]), kept["samples"]
            self.ratio_counts = kept["ratio_counts"]

    @property
    def path(self) -> Path:
        """The running epoch's file."""
        return self.folder / f"rollouts-{self.epoch:03d}.json"

    def add_group(self, sample_id: str, prompt: str, answer: str | None, rollouts: Sequence[LoggedRollout]) -> None:
        """Keeps one group, unless the log is full of samples that come before it. ``prompt`` is the bare prompt."""
        if not self._has_room(sample_id):
            return
        self.samples[sample_id] = {
            "prompt": shorten(prompt, MAX_CHARS),
            "answer": answer,
            "rollouts": [self._row(r) for r in rollouts],
        }

    def _has_room(self, sample_id: str) -> bool:
        """Whether a sample is to be kept. It may take the place of another one, which is removed."""
        if sample_id in self.samples or len(self.samples) < self.max_samples:
            return True
        self._last = self._last or max(self.samples, key=reading_order)
        if reading_order(sample_id) > reading_order(self._last):
            return False
        del self.samples[self._last]
        self._last = None
        return True

    def _row(self, r: LoggedRollout) -> list[Any]:
        row = [self.templates.number(r.template), shorten(r.completion, MAX_CHARS), r.reward, r.solved]
        return [*row, [list(turn) for turn in r.turns]] if r.turns else row

    def add_ratios(self, step: int, counts: Sequence[int]) -> None:
        """Adds the counts of one generation batch (see `count_ratios`) under its step."""
        self.ratio_counts[str(step)] = list(counts)

    def write(self) -> None:
        """Writes the running epoch's file."""
        write_json(
            self.path,
            {
                "epoch": self.epoch,
                "templates": self.templates.texts,
                "samples": self.samples,
                "ratio_log10_edges": LOG10_EDGES,
                "ratio_counts": self.ratio_counts,
            },
        )


def reading_order(sample_id: str) -> str:
    """A fixed random order of the samples."""
    return hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()


def count_ratios(log_ratios: torch.Tensor) -> list[int]:
    """Counts the log-ratios in each bin of `LOG10_EDGES`.

    Args:
        log_ratios: (N,) natural logarithms, without NaN.

    Returns:
        One count for each bin; the first is below the first edge, the last above the last one.
    """
    import torch

    edges = torch.tensor(LOG10_EDGES, dtype=torch.float64) * torch.log(torch.tensor(10.0, dtype=torch.float64))
    bins = torch.bucketize(log_ratios.double().cpu(), edges, right=True)
    return torch.bincount(bins, minlength=len(LOG10_EDGES) + 1).tolist()
