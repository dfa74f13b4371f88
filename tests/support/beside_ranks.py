"""Run by torchrun in test_evolution_beside.py: ``p2o train`` with a slow second process; each rank writes its end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from other_process import SAYS
from p2o.cli.main import main
from p2o.runs import second_process
from p2o.trl.trainer import P2OTrainer


def report(out: Path) -> None:
    """Lets each trainer write its state when it has trained."""
    train = P2OTrainer.train

    def reported(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = train(self, *args, **kwargs)
        weights = {name: float(p.double().sum()) for name, p in self.model.named_parameters()}
        found = {"loop": self.loop.state_dict(), "weights": weights, "world": self.accelerator.num_processes}
        (out / f"rank{self.accelerator.process_index}.json").write_text(json.dumps(found))
        return output

    P2OTrainer.train = reported


if __name__ == "__main__":
    recipe, out = sys.argv[1:]
    second_process.PROGRAM = "other_process"
    os.environ[SAYS] = "slow"
    report(Path(out))
    sys.exit(main(["train", recipe, "--output_dir", f"{out}/run"]))
