"""``p2o compare --engine verl`` on a CPU: sums of the sandbox, held-out sums as validation data.

    python tests/verl/tiny_compare.py OUT [words of p2o compare]

The same command continues a comparison that was killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml
from tiny_run import OWN_RAY, P2O, environment, overrides, write_sums

CHANGES = [
    "actor_rollout_ref.actor.optim.lr=5e-4",
    "++p2o.evolve_budget=80",
    "trainer.save_freq=-1",
    "trainer.logger=[console]",
]


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    epochs: int = 6
    hard: int = 48
    """Hard sums; there are eight easy ones beside them."""
    batch: int = 8
    """Samples of an update."""


def write(out: Path, size: Size) -> Path:
    """The data, and the overrides of the verl command."""
    write_sums(out / "train.parquet", "train", size.hard, 8)
    write_sums(out / "val.parquet", "test", 40, 8)
    words = [word for word in overrides(out) if not word.startswith(("trainer.rollout_data_dir", "trainer.default_l"))]
    words += [] if "RAY_ADDRESS" in os.environ else OWN_RAY
    words += [*P2O, *CHANGES, f"data.val_files={out}/val.parquet", f"trainer.total_epochs={size.epochs}"]
    words += [f"data.train_batch_size={size.batch}", f"actor_rollout_ref.actor.ppo_mini_batch_size={size.batch}"]
    file = out / "tiny.yaml"
    file.write_text(yaml.safe_dump(words))
    return file


def compare(out: Path, words: list[str], size: Size) -> int:
    """Runs the comparison into ``OUT/compare``; its exit code."""
    command = ["-m", "p2o", "compare", str(write(out, size)), "--engine", "verl", "--out", str(out / "compare")]
    env = environment(out)
    for name in ("CPU_SHIM_LOG", "VERL_FILE_LOGGER_PATH"):
        env.pop(name)
    return subprocess.run([sys.executable, *command, *words], cwd=out, env=env).returncode


if __name__ == "__main__":
    sys.exit(compare(Path(sys.argv[1]).absolute(), sys.argv[2:], Size()))
