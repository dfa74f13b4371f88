"""P2OTrainer shows a run in its own way, and leaves the rest of HF's callbacks, and the user's, as they are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from helpers import hard_rows, last_number, settings
from p2o import P2OConfig, P2OTrainer
from p2o.generation.models import resolve_model
from p2o.trl.watching import Watch


class Mine(TrainerCallback):
    """A user's callback."""


def kinds(trainer: Any) -> list[type]:
    return [type(callback) for callback in trainer.callback_handler.callbacks]


@pytest.mark.parametrize("disable_tqdm", [True, False])
def test_only_the_callback_that_prints_dictionaries_is_replaced(tmp_path: Path, disable_tqdm: bool) -> None:
    model, data = resolve_model("builtin:sandbox"), hard_rows(8)
    options = settings(tmp_path, disable_tqdm=disable_tqdm)
    theirs = GRPOTrainer(model, last_number, GRPOConfig(**options), data, callbacks=[Mine()])
    ours = P2OTrainer(model, last_number, P2OConfig(**options), data, callbacks=[Mine()], reflector=lambda jobs: [])
    printer = PrinterCallback if disable_tqdm else DEFAULT_PROGRESS_CALLBACK
    assert printer in kinds(theirs)
    assert printer not in kinds(ours)
    assert set(kinds(theirs)) - {printer} <= set(kinds(ours))
    assert Watch in kinds(ours)
    assert Mine in kinds(ours)


def test_trls_names_of_gradient_checkpointing_are_taken_without_a_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (True, False):
            config: Any = P2OConfig(**settings(tmp_path, gradient_checkpointing=value))
            assert config.gradient_checkpointing is config.activation_checkpointing is value
        newer: Any = P2OConfig(
            **{**settings(tmp_path), "gradient_checkpointing": True, "activation_checkpointing": False}
        )
        assert newer.activation_checkpointing is False
