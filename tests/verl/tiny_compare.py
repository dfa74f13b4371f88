"""``p2o compare --engine verl`` on a CPU: sums of the sandbox, held-out sums as validation data.

    python tests/verl/tiny_compare.py OUT [words of p2o compare]

The same command continues a comparison that was killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_run import OWN_RAY, P2O, environment, overrides, write_sums

CHANGES = [
    "data.train_batch_size=16",
    "actor_rollout_ref.actor.ppo_mini_batch_size=16",
    "actor_rollout_ref.actor.optim.lr=5e-4",
    "++p2o.evolve_budget=80",
    "trainer.save_freq=-1",
    "trainer.logger=[console]",
]
"""32 samples: two updates an epoch."""


def write(out: Path, epochs: int) -> Path:
    """The data, and the overrides of the verl command."""
    write_sums(out / "train.parquet", "train", 24, 8)
    write_sums(out / "val.parquet", "test", 40, 8)
    words = [word for word in overrides(out) if not word.startswith(("trainer.rollout_data_dir", "trainer.default_l"))]
    words += [] if "RAY_ADDRESS" in os.environ else OWN_RAY
    words += [*P2O, *CHANGES, f"data.val_files={out}/val.parquet", f"trainer.total_epochs={epochs}"]
    file = out / "tiny.yaml"
    file.write_text(yaml.safe_dump(words))
    return file


def compare(out: Path, words: list[str], epochs: int = 4) -> int:
    """Runs the comparison into ``OUT/compare``; its exit code."""
    command = ["-m", "p2o", "compare", str(write(out, epochs)), "--engine", "verl", "--out", str(out / "compare")]
    env = environment(out)
    for name in ("CPU_SHIM_LOG", "VERL_FILE_LOGGER_PATH"):
        env.pop(name)
    return subprocess.run([sys.executable, *command, *words], cwd=out, env=env).returncode


if __name__ == "__main__":
    sys.exit(compare(Path(sys.argv[1]).absolute(), sys.argv[2:]))
