"""One step on given completions, by one process or several: loss, gradient, ledger and mask go into OUT (see
test_ranks_equal_one_process.py)."""

import json
import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback
from trl import GRPOTrainer

import cpu_deepspeed
import cpu_fsdp
from cpu_deepspeed import whole
from helpers import ALL_FOUR, make_trainer, with_weights


class GradientsKept(TrainerCallback):
    def __init__(self):
        self.grads = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        # DeepSpeed has taken its step by now, and keeps no gradients.
        kept = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        self.grads |= {name.removeprefix("module."): whole(grad) for name, grad in kept.items()}


def main(given: Path, out: Path) -> None:
    cpu_fsdp.allow()
    cpu_deepspeed.allow()
    completions = json.loads(given.read_text())

    waiting = {}  # (question, templated) → this rank's completions, in order: a batch may be drawn in several calls

    def generate(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        if not waiting:
            questions = [row["prompt"][0]["content"] for row in self.train_dataset for _ in range(4)]
            first = self.accelerator.process_index * len(completions) // PROCESSES
            for n in range(first, first + len(completions) // PROCESSES):
                waiting.setdefault((questions[n], n % 4 != 3), []).append(completions[n])
        texts = self.processing_class.batch_decode(prompt_ids)
        keys = [next(k for k in waiting if k[0] in text and k[1] == (ALL_FOUR in text)) for text in texts]
        return [list(waiting[key].pop(0)) for key in keys], None

    GRPOTrainer._generate_single_turn = generate
    world = int(torch.distributed.get_world_size()) if torch.distributed.is_initialized() else None
    trainer = make_trainer(
        out.parent / f"{out.stem}-run",
        rows=3,
        per_device_train_batch_size=12 // PROCESSES,
        max_steps=1,
        max_grad_norm=1e9,
        shuffle_dataset=False,
        ratio_low=0.1,
        ratio_high=2.0,
        scale_steps=True,
        distillation=DISTILLATION,
    )
    assert world is None or world == PROCESSES
    slots = [ALL_FOUR] * 3 + [""]
    trainer.loop.assignment = dict.fromkeys(trainer.rows.by_id, slots)
    masks = []
    prepare = trainer._generate_and_score_completions

    def watched(inputs):
        batch = prepare(inputs)
        for row, mask in zip(with_weights(trainer, batch)["advantages"], batch["completion_mask"], strict=True):
            masks.append(row[mask.bool()].tolist())
        return batch

    trainer._generate_and_score_completions = watched
    kept = GradientsKept()
    trainer.add_callback(kept)
    trainer.train()
    weights = {name: whole(p) for name, p in trainer.model.named_parameters()}
    logged = next(row for row in trainer.state.log_history if "loss" in row)
    report = {
        "world": trainer.accelerator.num_processes,
        "sharded": any(type(p).__name__ == "DTensor" or hasattr(p, "ds_id") for p in trainer.model.parameters()),
        "loss": logged["loss"],
        "grad_norm": logged["grad_norm"],
        "advantages": gather_object(masks),
        "ledger": trainer.loop.ledger.state_dict(),
        "skipped_rows": logged.get("p2o/skipped_rows", 0.0),
        "ratio_tokens": {k: v for k, v in logged.items() if k.startswith("p2o/ratio")},
        "cost": trainer.global_cost().state_dict(),
        "grads": kept.grads,
        "weights": weights,
    }
    if trainer.accelerator.is_main_process:
        torch.save(report, out)


if __name__ == "__main__":
    PROCESSES, DISTILLATION = int(sys.argv[3]), sys.argv[4]
    main(Path(sys.argv[1]), Path(sys.argv[2]))
