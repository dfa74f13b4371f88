"""One batch through both engines' losses: same tokens, advantages, old log-probs and ratio mask, same gradient."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_run import HERE, environment

from helpers import ALL_FOUR, make_trainer
from p2o.core.distill import ratio_mask
from p2o.core.templates import apply_to_prompt
from p2o.generation.models import resolve_model

COMPLETIONS = ["w:r 7+5+0=12 4+8+1=13; 132", "299", "w:l 2+3=5; 5", "623"]
"""What the sandbox policy says with and without templates; none of it need be likely."""


def test_trl_and_verl_give_the_same_gradient(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, loss_type="dapo", epsilon=0.2, skip_dead_rows=False)
    tokenizer, model = trainer.processing_class, trainer.model
    rows = list(trainer.rows.by_id.values())
    bare, templated = (
        trainer._tokenize_prompts([apply_to_prompt(z, r["prompt"]) for r in rows])[0] for z in ("", ALL_FOUR)
    )
    completions = [
        tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in COMPLETIONS
    ]
    T = max(map(len, completions))
    mask_BT = torch.tensor([[1] * len(c) + [0] * (T - len(c)) for c in completions])
    own_BT = mask_BT.clone()
    own_BT[0, 5:9] = own_BT[1, :2] = own_BT[3, :2] = 0  # as if a tool had written them
    completion_BT = torch.tensor([c + [tokenizer.pad_token_id] * (T - len(c)) for c in completions])

    def left(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, prompts))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(p)) + p for p in prompts])
        return ids, torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])

    def logps(prompts: list[list[int]]) -> torch.Tensor:
        ids, prompt_mask = left(prompts)
        with torch.no_grad():
            return trainer._get_per_token_logps_and_entropies(
                model, torch.cat([ids, completion_BT], 1), torch.cat([prompt_mask, mask_BT], 1), T
            )[0]

    generator = torch.Generator().manual_seed(0)
    templated_B = torch.tensor([True, True, True, False])
    # Old log-probs of a policy a little away from this one: PPO's clip has something to do.
    old_BT = logps(bare) + 0.3 * torch.randn(mask_BT.shape, generator=generator)
    weights_BT = ratio_mask(logps(bare), logps(templated), templated_B, low=0.5, high=1.5)
    advantages_B = torch.tensor([1.3, -0.8, 0.4, -0.9])
    tokens = own_BT.bool()
    assert 0.2 < weights_BT[tokens].mean() < 0.9, "the mask drops some tokens and keeps some"
    ratios = (logps(bare) - old_BT).exp()[tokens]
    assert (ratios > 1.2).any()
    assert (ratios < 0.8).any()

    prompt_ids, prompt_mask = left(bare)
    model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = {
        "prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "completion_ids": completion_BT,
        "completion_mask": mask_BT, "advantages": advantages_B[:, None] * weights_BT, "old_per_token_logps": old_BT,
        "tool_mask": own_BT, "num_items_in_batch": own_BT.sum(),
    }  # fmt: skip
    ours = gradient_of(trainer, inputs)
    unmasked = gradient_of(trainer, inputs | {"advantages": advantages_B})
    with_tools = gradient_of(trainer, inputs | {"tool_mask": mask_BT})

    lengths = [len(c) for c in completions]
    torch.save(
        {
            "model": resolve_model("builtin:sandbox"),
            "prompt_ids": [torch.tensor(p) for p in bare],
            "response_ids": [torch.tensor(c) for c in completions],
            "old_logps": [row[:n] for row, n in zip(old_BT, lengths, strict=True)],
            "weights": [row[:n] for row, n in zip(weights_BT, lengths, strict=True)],
            "advantages": [a.repeat(n) for a, n in zip(advantages_B, lengths, strict=True)],
            "masks": [row[:n] for row, n in zip(own_BT, lengths, strict=True)],
        },
        tmp_path / "batch.pt",
    )
    run = subprocess.run(
        [sys.executable, HERE / "verl_gradient.py", tmp_path / "batch.pt", tmp_path / "gradient.pt"],
        env=environment(tmp_path)
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611", "RANK": "0", "WORLD_SIZE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    theirs = torch.load(tmp_path / "gradient.pt")
    assert theirs.keys() == ours.keys()
    assert distance(theirs, ours) < 1e-5
    assert distance(unmasked, ours) > 0.01, "the mask matters for this batch"
    assert distance(with_tools, ours) > 0.01, "so do the tool's tokens"


def gradient_of(trainer: Any, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, inputs).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters()}


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference, relative to ``b``'s."""
    difference = torch.stack([(a[name] - b[name]).norm() for name in b]).norm()
    return float(difference / torch.stack([g.norm() for g in b.values()]).norm())
