"""Numbers that are not finite: the step is skipped and counted, and three in a row stop the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from helpers import ALL_FOUR, letters, make_trainer, rollout_batch
from p2o.base.stopping import StoppedError
from p2o.trl.checkpoint import latest_checkpoint


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def spoil(trainer: Any, monkeypatch: pytest.MonkeyPatch, steps: set[int], what: str) -> list[dict[str, torch.Tensor]]:
    """Makes the loss or the gradient of some steps NaN or infinite; the weights after each step."""
    after: list[dict[str, torch.Tensor]] = []
    compute = trainer._compute_loss

    def spoiled(model: Any, inputs: Any) -> torch.Tensor:
        loss = compute(model, inputs)
        if trainer.state.global_step not in steps:
            return loss
        if what == "gradient":  # the loss itself stays finite
            loss.register_hook(lambda grad: grad * float("inf"))
            return loss
        return loss + 0 * loss + float(what)

    monkeypatch.setattr(trainer, "_compute_loss", spoiled)
    end = trainer.callback_handler.on_step_end

    def on_step_end(*args: Any) -> Any:
        after.append(weights(trainer))
        return end(*args)

    monkeypatch.setattr(trainer.callback_handler, "on_step_end", on_step_end)
    return after


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[n], right[n]) for n in left)


@pytest.mark.parametrize("what", ["nan", "inf", "gradient"])
def test_a_bad_step_is_skipped_and_counted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    trainer = make_trainer(tmp_path, letters, max_steps=4, weight_decay=0.1, max_completion_length=8)
    after = spoil(trainer, monkeypatch, {1}, what)
    trainer.train()
    assert same(after[0], after[1])
    assert not same(after[1], after[2])
    assert all(torch.isfinite(p).all() for p in after[-1].values())
    counts = [row.get("p2o/skipped_steps") for row in trainer.state.log_history if "loss" in row]
    assert counts == [None, 1.0, 1.0, 1.0]


def test_three_in_a_row_stop_the_run_with_a_checkpoint(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(
        tmp_path, letters, max_steps=9, max_completion_length=8, save_strategy="steps", save_steps=100
    )
    after = spoil(trainer, monkeypatch, {0, 2, 3, 4, 5}, "nan")
    with pytest.raises(
        StoppedError, match=r"step 5: loss or gradient was not a finite number in 3 steps in a row \(4 in"
    ):
        trainer.train()
    assert latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
    assert same(after[1], after[4])
    assert all(torch.isfinite(p).all() for p in after[4].values())


@pytest.mark.parametrize("soft", [False, True])
def test_a_ratio_that_is_not_finite_skips_the_step(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, soft: bool) -> None:
    trainer = make_trainer(tmp_path, distillation="soft" if soft else "mask")
    logps_of = trainer._logps_of

    def broken(*args: Any) -> torch.Tensor:
        bare_BT = logps_of(*args)
        bare_BT[:, 0] = float("nan")
        return bare_BT

    monkeypatch.setattr(trainer, "_logps_of", broken)
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    loss = trainer._compute_loss(trainer.model, batch)
    assert torch.isnan(loss)
    trainer.finite.see_loss(loss.detach())
    loss.backward()
    monkeypatch.setattr(GRPOTrainer, "_get_grad_norm", lambda *args, **kwargs: torch.tensor(1.0))
    trainer._get_grad_norm(trainer.model)
    assert trainer.finite.skipped == 1
    assert all(p.grad is None for p in trainer.model.parameters())
