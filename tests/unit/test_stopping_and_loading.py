"""What is said when a run is stopped, and when a checkpoint is loaded."""

from __future__ import annotations

import signal

import pytest
import torch
from transformers import Trainer

from p2o.base.stopping import StopRequest, signals_stop
from p2o.trl.saving import SavingTrainer, without_tied


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_has_the_name_that_users_know(
    number: signal.Signals, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = StopRequest()
    with signals_stop(request):
        signal.raise_signal(number)
    assert capsys.readouterr().err.startswith(f"p2o: {name}: the running step is finished and saved first")
    assert str(request.error(3, None)).startswith(f"training stopped at step 3: {name} was received;")


def test_a_tied_weight_is_not_missing() -> None:
    model = torch.nn.ModuleDict({"embedding": torch.nn.Linear(2, 3), "head": torch.nn.Linear(2, 3)})
    assert without_tied(["head.weight", "gone"], model) == ["head.weight", "gone"]
    model["head"].weight = model["embedding"].weight
    assert without_tied(["head.weight", "head.bias"], model) == ["head.bias"]
    assert without_tied(["head.weight", "embedding.weight"], model) == ["head.weight", "embedding.weight"]


def test_the_warning_is_where_the_trainer_of_transformers_gives_it() -> None:
    assert SavingTrainer._issue_warnings_after_load is not Trainer._issue_warnings_after_load
