"""The error of a process when another process of its run has died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed import DistError

from ..errors import P2OError
from .checkpoint import latest_checkpoint

GLOO_SAYS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
"""Gloo raises a plain RuntimeError; NCCL raises a DistError."""


class PeerError(P2OError):
    """Another process of the run ended, or did not answer in time."""


@contextmanager
def lost_peers_explained(run_dir: Path) -> Iterator[None]:
    """Turns the failure of a collective into one sentence that says where to look and how to continue."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and not any(words in str(error) for words in GLOO_SAYS):
            raise
        good = latest_checkpoint(run_dir)
        raise PeerError(
            f"another process of this run ended or did not answer in time ({str(error).splitlines()[0][:200]}); "
            "the process that ended first says why, then "
            + (f"continue from {good}" if good else "start the run again")
        ) from error
