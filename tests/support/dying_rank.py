"""Run by torchrun in test_dying_rank.py: one rank is killed at a given place, as by the machine (kill -9)."""

import os
import signal
import sys
import time
from pathlib import Path

from helpers import make_trainer
from p2o.base.stopping import signals_stop
from p2o.reflectors import PhrasesReflector

BANK = ["Show your work.", "Go from right to left.", "Carry the ones.", "State the total at the end."]


def main(out: Path, place: str, victim: int) -> None:
    trainer = make_trainer(
        out / "run",
        rows=12,
        reflector=PhrasesReflector(BANK, max_phrases=4),
        per_device_train_batch_size=6,
        num_train_epochs=2,
        hard_min_count=4,
        dev_size=6,
        evolve_budget="80",
        save_strategy="epoch",
    )

    def die() -> None:
        if trainer.accelerator.process_index == victim:
            time.sleep(1)  # the other rank waits in a collective by now
            (out / "died").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)

    if place == "training":
        prepare = trainer._calculate_rewards

        def rewards(*args):
            if trainer.state.global_step == 1:
                die()
            return prepare(*args)

        trainer._calculate_rewards = rewards
    elif place == "rollouts":  # of an evolution
        roll_out = trainer.roll_out

        def rolling(*args, **kwargs):
            die()
            return roll_out(*args, **kwargs)

        trainer.roll_out = rolling
    else:  # while the reflector writes, on rank 0
        reflector = trainer.reflector

        def reflecting(jobs):
            die()
            return reflector(jobs)

        trainer.reflector = reflecting
    with signals_stop(trainer.stop):
        trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
