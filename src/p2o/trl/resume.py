"""What a checkpoint holds beyond HF's state, and how a trainer goes on from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ..base.files import read_json, write_json
from ..errors import StateError
from .checkpoint import (
    STATE_FILE,
    TRAINER_STATE,
    buffer_file,
    check_checkpoint,
    latest_checkpoint,
    load_buffer,
    save_buffer,
)

if TYPE_CHECKING:
    from .trainer import P2OTrainer

TORCH_WRITES = ("PytorchStreamWriter", "inline_container", "iostream")
"""Words in what torch.save says when it cannot write."""


def save_state(trainer: P2OTrainer, folder: Path) -> None:
    """Writes our part of a checkpoint, before HF writes its own (collective)."""
    cost = trainer.global_cost().state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.accelerator.is_main_process:
        # A folder that an earlier run left here counts as whole again only when all of it is written anew.
        (folder / TRAINER_STATE).unlink(missing_ok=True)
        trainer.record.write()
        state = {
            "loop": trainer.loop.state_dict(),
            "cost": cost,
            "micro_steps": trainer._step,
            "skipped_steps": trainer.finite.skipped,
            "last_evaluation": trainer.last_evaluation,
        }
        write_json(folder / STATE_FILE, state)
    every = trainer.args.steps_per_generation * trainer.num_iterations
    buffered = trainer._buffered_inputs if trainer._step % every else None
    save_buffer(buffer_file(folder, trainer.accelerator.process_index), buffered)


def load_state(trainer: P2OTrainer, checkpoint: Path) -> None:
    """Takes over our part of a checkpoint; HF takes over its own.

    Raises:
        StateError: it is truncated, foreign, or was written by another number of processes.
    """
    check_checkpoint(checkpoint)
    state = read_json(checkpoint / STATE_FILE)
    trainer.loop.load_state_dict(state["loop"])
    trainer.finite.skipped = state["skipped_steps"]
    trainer.saved_step = int(checkpoint.name.rpartition("-")[2])
    trainer.last_evaluation = state["last_evaluation"]
    if trainer.accelerator.is_main_process:
        trainer.cost.load_state_dict(state["cost"])
    buffer = buffer_file(checkpoint, trainer.accelerator.process_index)
    if not buffer.exists():
        raise StateError(
            f"{checkpoint} was written by fewer processes than now run; resume with the same number of processes"
        )
    trainer.resumed_at = state["micro_steps"], load_buffer(buffer, trainer.accelerator.device)


@contextmanager
def failing_writes_explained(folder: Path) -> Iterator[None]:
    """Turns a failing write inside (full disk, no permission) into one sentence that names the last good checkpoint."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, StateError) as error:
        # torch.save says RuntimeError for everything; other runtime errors are not about the disk.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in TORCH_WRITES):
            raise
        good = latest_checkpoint(folder.parent)
        raise StateError(
            f"cannot write {folder} ({str(error).splitlines()[0]}); free some space, then "
            + (f"go on from {good} with p2o train RECIPE --resume" if good else "start the run again")
        ) from error
