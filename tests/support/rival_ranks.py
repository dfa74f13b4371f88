"""Run by torchrun in test_rivals.py and test_solution_methods.py: two epochs of a method, groups across the ranks."""

import json
import sys
from pathlib import Path

from helpers import by_thirds, make_trainer


def main(out: Path, method: str, resume: bool) -> None:
    trainer = make_trainer(
        out / "run",
        by_thirds,
        rows=12,
        method=method,
        per_device_train_batch_size=6,  # 12 rollouts a step: the second group of 4 lies on both ranks
        num_train_epochs=2,
        scale_steps=True,
        save_strategy="epoch",
    )
    trainer.train(resume_from_checkpoint=resume)
    report = {
        "world": trainer.accelerator.num_processes,
        "loop": trainer.loop.state_dict(),
        "weights": {n: float(p.double().sum()) for n, p in trainer.model.named_parameters()},
        "rollouts": trainer.cost["rollout"].rollouts,
    }
    (out / f"rank{trainer.accelerator.process_index}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["resume"])
