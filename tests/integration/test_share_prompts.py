"""``share_prompts`` in a training step. That it is off by default, and a step then TRL's, is tested in
`test_exactness`; what is drawn, in tests/unit/test_shared_prompts.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import letters, make_trainer, rollout_batch
from p2o.generation import sampler


@pytest.mark.parametrize("template", ["", "Be brief."])
def test_the_prompt_of_a_group_is_computed_once(tmp_path: Path, template: str) -> None:
    trainer = make_trainer(tmp_path, letters, rows=4, share_prompts=True)
    passes: list[tuple[int, ...]] = []

    def see(module: Any, args: Any, kwargs: Any) -> None:
        if kwargs.get("use_cache"):
            passes.append(tuple(kwargs["input_ids"].shape))

    trainer.model.register_forward_pre_hook(see, with_kwargs=True)
    batch = rollout_batch(trainer, template, bare_slots=1, weighed=False)
    assert len(batch["completion_ids"]) == 4 * trainer.num_generations
    assert sum(rows for rows, width in passes if width > 1) == 4 * (1 + bool(template))
    assert torch.isfinite(trainer._compute_loss(trainer.model, batch))


def test_a_setting_that_it_does_not_honour_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="share_prompts has no effect, because repetition_penalty is set"):
        trainer = make_trainer(tmp_path, letters, rows=4, share_prompts=True, repetition_penalty=1.1)
    assert trainer.why_not_efficient == "repetition_penalty is set"


def test_a_step_that_cannot_be_recorded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, *args: Any, **options: Any) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Refused)
    with pytest.warns(UserWarning, match=r"cannot be recorded as a CUDA graph \(operation not permitted"):
        assert sampler.record(lambda model: None, None) is None
