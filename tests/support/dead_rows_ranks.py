"""Run by torchrun in test_dead_rows_ddp.py: two steps of two micro-batches, in which only rank 0 has live rows."""

import json
import os
import sys
from pathlib import Path

import torch

from helpers import letters, make_trainer

RANK = int(os.environ["RANK"])


def reward(prompts, completions, **kwargs):
    """Every second question has spread on rank 0, and none on rank 1."""
    alive = [RANK == 0 and len(str(p)) % 2 == 0 for p in prompts]
    return [v if a else 0.0 for a, v in zip(alive, letters(completions), strict=True)]


def train(out: Path, loss_type: str, skip: bool) -> dict:
    trainer = make_trainer(
        out, reward, rows=8, max_steps=2, gradient_accumulation_steps=2, per_device_train_batch_size=8,
        loss_type=loss_type, skip_dead_rows=skip, optim="adamw_torch", learning_rate=1e-3, weight_decay=0.1,
    )  # fmt: skip
    forwards = []
    trainer.model.register_forward_hook(lambda *_: forwards.append(1) if torch.is_grad_enabled() else None)
    trainer.train()
    optimizer = [state["step"].item() for state in trainer.optimizer.state.values()]
    return {
        "forwards": len(forwards),
        "trained_tokens": trainer.cost["train"].trained_tokens,
        "optimizer_steps": sorted(set(optimizer)),
        "parameters_with_state": len(optimizer),
        "weights": [p.detach().clone() for p in trainer.model.parameters()],
    }


def main(out: Path) -> None:
    report = {}
    for loss_type in ("dapo", "grpo", "bnpo"):
        skipped, full = (train(out / f"{loss_type}-{skip}", loss_type, skip) for skip in (True, False))
        pairs = list(zip(skipped.pop("weights"), full.pop("weights"), strict=True))
        difference = max((a - b).abs().max().item() for a, b in pairs)
        digest = [float(a.double().sum()) for a, _ in pairs]
        report[loss_type] = {"skipped": skipped, "full": full, "difference": difference, "digest": digest}
    (out / f"rank{RANK}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
