"""Run by torchrun in test_two_processes.py: two epochs with a prompt step between, groups straddling the ranks."""

import json
import sys
from pathlib import Path

import cpu_deepspeed
import cpu_fsdp
from cpu_deepspeed import whole
from helpers import make_trainer
from p2o.reflectors import PhrasesReflector

BANK = ["Show your work.", "Go from right to left.", "Carry the ones.", "State the total at the end."]


def main(out: Path, resume: bool) -> None:
    cpu_fsdp.allow()
    cpu_deepspeed.allow()
    trainer = make_trainer(
        out / "run",
        rows=12,
        reflector=PhrasesReflector(BANK, max_phrases=4),
        per_device_train_batch_size=6,  # 12 rollouts a step: the second group of 4 lies on both ranks
        num_train_epochs=2,
        hard_min_count=4,
        dev_size=6,
        evolve_budget="80",
        fill_proposals=True,
        evolve_parents=8,
        withdrawal="graduated",
        sampling="adaptive",
        scale_steps=True,
        save_strategy="epoch",
    )
    trainer.train(resume_from_checkpoint=resume)
    rank = trainer.accelerator.process_index
    weights = {n: float(whole(p).double().sum()) for n, p in trainer.model.named_parameters()}
    report = {
        "world": trainer.accelerator.num_processes,
        "sharded": any(type(p).__name__ == "DTensor" or hasattr(p, "ds_id") for p in trainer.model.parameters()),
        "loop": trainer.loop.state_dict(),
        "weights": weights,
        "cost": trainer.cost["rollout"].rollouts,
    }
    (out / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["resume"])
