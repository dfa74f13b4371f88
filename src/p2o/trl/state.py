"""What a checkpoint holds beyond HF's state: one dataclass with ``save`` and ``load``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..base.files import read_json, write_json
from ..core.stored import SCHEMA
from ..data.fingerprint import data_difference
from ..errors import StateError
from .checkpoint import MANIFEST, STATE_FILE, check_checkpoint, latest_checkpoint

if TYPE_CHECKING:
    import torch

MicroBatches = Sequence[Mapping[str, "torch.Tensor | None"]]

TORCH_WRITES = ("PytorchStreamWriter", "inline_container", "iostream")
"""Words in torch.save's errors when it cannot write."""


@dataclass
class CheckpointState:
    """The state of the joint loop and of TRL's generation in a checkpoint."""

    loop: dict[str, Any]
    cost: dict[str, Any]
    data: dict[str, Any]
    """The fingerprint of the training data (`p2o.data.fingerprint`)."""
    micro_steps: int
    """TRL's count of micro-steps. TRL itself would start again at 0."""
    skipped_steps: int
    last_evaluation: dict[str, float]

    def save(self, checkpoint: Path) -> None:
        """Writes the state, before HF writes its part. A manifest that an earlier run left in the folder is removed."""
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / MANIFEST).unlink(missing_ok=True)
        write_json(checkpoint / STATE_FILE, vars(self), SCHEMA)

    def check_data(self, checkpoint: Path, now: Mapping[str, Any]) -> None:
        """Raises StateError if the training data has changed since the checkpoint.

        Args:
            now: the fingerprint of the current data.
        """
        changed = data_difference(self.data, now)
        if changed:
            raise StateError(
                f"{checkpoint} cannot be continued from: the training data has changed ({changed}); use the "
                "same data, or start a new run (--if_exists new)"
            )

    @classmethod
    def load(cls, checkpoint: Path) -> CheckpointState:
        """Reads it.

        Raises:
            StateError: the checkpoint is not whole, or of another version.
        """
        check_checkpoint(checkpoint)
        content = read_json(checkpoint / STATE_FILE, SCHEMA)
        try:
            return cls(**content)
        except TypeError as error:
            raise StateError(f"{checkpoint / STATE_FILE} is of another version of p2o ({error})") from error


# Tensors. The files do not end in .safetensors: vLLM reads every *.safetensors file of a folder as weights.


def buffer_file(checkpoint: Path, rank: int) -> Path:
    """The file of one rank's rollouts that later steps still train on."""
    return checkpoint / f"p2o_rollouts_{rank}.buffer"


def reference_file(checkpoint: Path) -> Path:
    """The file of the reference model, for a run that updates it (``sync_ref_model``)."""
    return checkpoint / "p2o_reference.buffer"


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes tensors. They are cloned, because safetensors refuses tensors that share memory."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, str(path))


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """The inverse of `save_tensors`.

    Raises:
        StateError: the file cannot be read.
    """
    try:
        return {name: t.to(device) for name, t in load_file(str(path)).items()}
    except (OSError, SafetensorError) as error:
        raise StateError(f"cannot read {path} ({error}); use an older checkpoint") from error


def save_buffer(path: Path, micro_batches: MicroBatches | None) -> None:
    """Writes the rollouts that later steps still train on (TRL would draw new ones after a resume)."""
    rows = [(n, name, value) for n, batch in enumerate(micro_batches or []) for name, value in batch.items()]
    save_tensors(path, {f"{n}/{name}": value for n, name, value in rows if value is not None})


def load_buffer(path: Path, device: torch.device | str) -> list[dict[str, torch.Tensor]] | None:
    """The inverse of `save_buffer`; None when nothing was buffered.

    Raises:
        StateError: there is no file for this rank.
    """
    if not path.exists():
        raise StateError(
            f"{path.parent} was written by fewer processes than now run; resume with the same number of processes"
        )
    batches: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_tensors(path, device).items():
        number, _, name = key.partition("/")
        batches.setdefault(int(number), {})[name] = value
    return [batches[n] for n in sorted(batches)] or None


@contextmanager
def failing_writes_explained(folder: Path, run_dir: Path) -> Iterator[None]:
    """Turns a failing write inside (full disk, no permission) into one sentence that names the last good checkpoint."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, StateError) as error:
        # torch.save raises RuntimeError for every failure; other runtime errors have nothing to do with the disk.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in TORCH_WRITES):
            raise
        good = latest_checkpoint(run_dir)
        raise StateError(
            f"cannot write {folder} ({str(error).splitlines()[0]}); free some space, then "
            + (f"continue from {good}" if good else "start the run again")
        ) from error
