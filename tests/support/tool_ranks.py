"""Run by test_tools_resume.py, by one process or by torchrun: two epochs with tools and a prompt step between."""

import json
import sys
from pathlib import Path

from p2o.reflectors import PhrasesReflector
from tool_world import ROOMS, ours

BANK = ["look twice.", "then say it.", "be quick."]


def main(out: Path, resume: bool) -> None:
    trainer = ours(
        out / "run",
        ROOMS,
        rows=12,
        reflector=PhrasesReflector(BANK, max_phrases=3),
        success_reward="Room",
        success_threshold=0.5,
        tau=4,
        pool="proposals",
        per_device_train_batch_size=12 if SINGLE else 6,  # the second group of 4 lies on both ranks
        num_train_epochs=2,
        hard_min_count=2,
        dev_size=5,
        evolve_budget="80",
        evolve_temperature=1.0,
        withdrawal="graduated",
        save_strategy="epoch",
        seed=1,  # one in which templates are found, by one process and by two
    )
    trainer.train(resume_from_checkpoint=resume)
    rank = trainer.accelerator.process_index
    report = {
        "world": trainer.accelerator.num_processes,
        "loop": trainer.loop.state_dict(),
        "weights": {n: float(p.detach().double().sum()) for n, p in trainer.model.named_parameters()},
        "cost": trainer.cost.state_dict(),
        "failed": sum(row.get("p2o/tool_failures/bare", 0) for row in trainer.state.log_history),
    }
    for phase in report["cost"].values():
        if isinstance(phase, dict):
            phase.pop("seconds")
    (out / f"rank{rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    SINGLE = sys.argv[2] == "single"
    main(Path(sys.argv[1]), sys.argv[3:] == ["resume"])
