"""A small set-up around the built-in policy: rows, a reward, a trainer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from p2o.data import load_samples, to_dataset
from p2o.generation.models import resolve_model
from p2o.trl.distillation import UNWEIGHED, bare_ids

ALL_FOUR = "Show your work. Go from right to left. Carry the ones. State the total at the end."


def hard_rows(count: int, part: str = "train") -> Any:
    samples = [s for s in load_samples(f"builtin:sandbox/{part}") if s.columns["level"] == "hard"]
    return to_dataset(samples[:count])


def last_number(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float]:
    """TRL's signature, written anew here: the tests do not lean on p2o.rewards."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(re.findall(r"\d+", "0" + t)[-1] == a) for t, a in zip(texts, answer, strict=True)]


def letters(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward with spread on the bare prompt too: the share of even digits."""
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [sum(ch in "02468" for ch in t) / max(1, len(t)) for t in texts]


def by_thirds(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float]:
    """By the answer's remainder of 3: rewards with a spread, all 0, all 1."""
    return [(float(n % 2), 0.0, 1.0)[int(a) % 3] for n, a in enumerate(answer)]


def settings(out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "num_generations": 4,
        "per_device_train_batch_size": 16,
        "max_completion_length": 56,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        **changes,
    }


def make_trainer(out: Path, reward: Any = last_number, rows: int = 4, reflector: Any = None, **changes: Any) -> Any:
    from p2o import P2OConfig, P2OTrainer

    return P2OTrainer(
        resolve_model("builtin:sandbox"),
        reward,
        P2OConfig(**settings(out, **changes)),
        train_dataset=hard_rows(rows),
        reflector=reflector or (lambda jobs: []),
    )


def rollout_batch(trainer: Any, template: str, bare_slots: int = 0, weighed: bool = True) -> dict[str, Any]:
    """One training batch of all rows, every group under ``template``, as the trainer prepares it for the loss.

    Args:
        weighed: give the tokens their weights by a pass of its own, not in the loss's.
    """
    K = trainer.num_generations
    rows = [row for row in trainer.rows.by_id.values() for _ in range(K)]
    slots = [template] * (K - bare_slots) + [""] * bare_slots
    trainer.loop.assignment = dict.fromkeys(trainer.rows.by_id, slots) if template else {}
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._generate_and_score_completions(rows)
    return with_weights(trainer, batch) if weighed else batch


def with_weights(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with the weights of its tokens, from a pass of its own and not the loss's."""
    if UNWEIGHED[0] not in batch:
        return batch
    batch, everyone = dict(batch), list(range(len(batch["advantages"])))
    trainer.weigh(batch, trainer._logps_of(batch, everyone, [bare_ids(batch, n) for n in everyone]))
    return batch


def log_probs(model: Any, prompts: Any, batch: dict[str, Any]) -> list[Any]:
    """log π(y_t | prompt, y_<t) of the batch's completions, row by row, without padding."""
    rows = []
    for n, ids in enumerate(prompts):
        completion = batch["completion_ids"][n][batch["completion_mask"][n].bool()]
        whole = torch.cat([torch.tensor(ids), completion])[None]
        with torch.no_grad():
            table = model(whole).logits[0, :-1].log_softmax(-1)
        rows.append(table.gather(1, whole[0, 1:, None])[-len(completion) :, 0])
    return rows


class KilledError(Exception):
    """Stands for a kill: nothing of the trainer's own runs after it."""


class KillAt(TrainerCallback):
    """Raises `KilledError` at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KilledError
