"""Saves and loads checkpoints: the loop's state is written first, HF's next, and the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..core.methods import Elsewhere
from ..data.fingerprint import fingerprint
from .beside import Beside, SecondProcess, Wait, check_beside
from .checkpoint import write_manifest
from .ranks import global_cost
from .state import (
    CheckpointState,
    buffer_file,
    failing_writes_explained,
    load_buffer,
    load_tensors,
    reference_file,
    save_buffer,
    save_tensors,
)
from .step import StepTrainer


def without_tied(missing: Sequence[str], model: torch.nn.Module) -> list[str]:
    """The weights that a checkpoint really lacks: of tied weights (``lm_head``) it holds one name alone."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    loaded = {id(weight) for name, weight in weights.items() if name not in missing}
    return [name for name in missing if name not in weights or id(weights[name]) not in loaded]


class SavingTrainer(StepTrainer):
    """`StepTrainer` that saves and loads the state of `p2o.P2OTrainer`."""

    control: Any  # HF's TrainerControl
    run_dir: Path
    last_evaluation: dict[str, float]
    beside: SecondProcess | None
    """Evolves beside training."""

    def prepare_saving(self, beside: SecondProcess | None) -> None:
        """Sets the initial state: no checkpoint is saved yet, and the run was not resumed.

        Args:
            beside: evolves beside training.

        Raises:
            ConfigError: that is asked for, and cannot be done here.
        """
        check_beside(self.args, beside, self.weights_are_sharded or self.is_deepspeed_enabled, self._chats)
        self.beside = beside
        self.saved_step = -1
        self.resumed_at: tuple[int, list[dict[str, torch.Tensor]] | None] = (0, None)

    @cached_property
    def data_fingerprint(self) -> dict[str, Any]:
        """The fingerprint of the training data."""
        return fingerprint(list(self.rows.samples.values()))

    def checkpoint_is_saved(self) -> bool:
        """Whether this step has a checkpoint already."""
        return bool(self.saved_step == self.state.global_step)

    def save_once(self) -> None:
        """Saves a checkpoint of this step, unless there is one already or saving is off (collective)."""
        if self.args.save_strategy == "no" or self.checkpoint_is_saved():
            return
        self._save_checkpoint(self.model_wrapped, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def elsewhere(self, send: Any, check: Callable[[], None]) -> Elsewhere | None:
        """What evolves beside the epoch that begins; None: the prompt step evolves itself.

        Args:
            send: sends a request to all ranks.
            check: raises to stop.
        """
        if self.beside is None:
            return None

        def save(folder: Path) -> None:
            with failing_writes_explained(folder, self.run_dir):
                self.save_model(str(folder), _internal_call=True)

        def waiting() -> None:
            check()
            send(Wait())

        return Beside(self.beside, save, self.state.num_train_epochs, self.cost, waiting)

    def carry_out(self, request: Any) -> Any:
        """What rank 0 asks of all ranks in a prompt step."""
        return None if isinstance(request, Wait) else super().carry_out(request)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = self.run_dir / f"checkpoint-{self.state.global_step}"
        with failing_writes_explained(folder, self.run_dir):
            self._save_state(folder)
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process and not self.args.save_only_model:
                write_manifest(folder)  # last: a run can continue from the checkpoint only when it has this file
        self.saved_step = self.state.global_step

    def _save_state(self, folder: Path) -> None:
        """Writes our part of a checkpoint (collective)."""
        cost = global_cost(self.cost).state_dict()
        if self.accelerator.is_main_process:
            self.rollout_log.write()
            CheckpointState(
                loop=self.loop.state_dict(),
                cost=cost,
                data=self.data_fingerprint,
                micro_steps=self._step,
                skipped_steps=self.finite.skipped,
                last_evaluation=self.last_evaluation,
            ).save(folder)
            if self.args.sync_ref_model and self.ref_model is not None:
                save_tensors(reference_file(folder), self.accelerator.unwrap_model(self.ref_model).state_dict())
        self.accelerator.wait_for_everyone()
        every = self.args.steps_per_generation * self.num_iterations
        buffered = self._buffered_inputs if self._step % every else None
        save_buffer(buffer_file(folder, self.accelerator.process_index), buffered)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """HF's warnings of missing weights, without those that are tied to a loaded one."""
        missing = without_tied(load_result.missing_keys, self.model)
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def load_state(self, checkpoint: Path) -> None:
        """Loads our part of a checkpoint; HF loads its own.

        Raises:
            StateError: it is not whole, or was written by another number of processes or for other data.
        """
        state = CheckpointState.load(checkpoint)
        state.check_data(checkpoint, self.data_fingerprint)
        self.loop.load_state_dict(state.loop)
        self.finite.skipped = state.skipped_steps
        self.saved_step = int(checkpoint.name.rpartition("-")[2])
        self.last_evaluation = state.last_evaluation
        if self.accelerator.is_main_process:
            self.cost.load_state_dict(state.cost)
        buffer = load_buffer(buffer_file(checkpoint, self.accelerator.process_index), self.accelerator.device)
        self.resumed_at = state.micro_steps, buffer
        if self.args.sync_ref_model and self.ref_model is not None:
            self.accelerator.unwrap_model(self.ref_model).load_state_dict(load_tensors(reference_file(checkpoint)))
