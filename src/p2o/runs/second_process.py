"""Evolution beside training: the second process, seen from the training (from within: `beside`).

    p2o/beside-003/   weights/    the policy (a LoRA run: its adapter); removed when the result was taken in
                      recipe.yaml the run's recipe, from which the second process makes data, rewards, reflector
                      task.json   what to evolve; written last
                      log.txt     what the second process printed
                      done.json   the result; written atomically

The evolution's own folder is ``p2o/evolution-003``, as that of any other. The second process is ended with the run: it
reads from a pipe whose other end the system closes when the training's process ends, however that happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.files import read_json, write_json, write_text
from ..base.secrets import is_secret
from ..base.text import last_words
from ..core.evolve import Evolution
from ..core.methods import Task
from ..errors import ConfigError, StateError
from .reading import setting_words
from .recipe import Recipe

if TYPE_CHECKING:
    from ..trl.trainer import P2OTrainer

PROGRAM = "p2o.cli.beside"
WEIGHTS, RECIPE, TASK, LOG, DONE = "weights", "recipe.yaml", "task.json", "log.txt", "done.json"
POLL = 0.2
"""Seconds between two looks at the second process."""
SILENCE = 3 * 3600.0
"""Seconds without a new rollout or reply after which the second process is given up."""
LAUNCHER = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_", "ACCELERATE_",
)  # fmt: skip
"""Variables (or their beginnings) with which torchrun and accelerate make a process one of several."""


class SecondProcess:
    """The second process of a run, seen from the training. It is used on the main process alone.

    Args:
        recipe: the run's; its ``output_dir`` is the run directory.

    Raises:
        ConfigError: the recipe names a served policy.
    """

    def __init__(self, recipe: Recipe) -> None:
        if recipe.task.policy_base_url:
            raise ConfigError(
                "evolve_beside evolves on the last weights of the training, and policy_base_url names a served policy, "
                "which does not have them; remove one of the two"
            )
        self.own = Path(recipe.training.output_dir) / "p2o"
        self.recipe = recipe.to_yaml(self._folder(0))
        self.words = [*setting_words(_not_written(recipe)), *_of_one_process(recipe)]
        self.environment = _environment(recipe)
        self.process: subprocess.Popen[bytes] | None = None
        self.number = -1
        """The prompt step that the running evolution is for."""

    def _folder(self, number: int) -> Path:
        return self.own / f"beside-{number:03d}"

    @contextmanager
    def running(self, resumed: bool) -> Iterator[None]:
        """Inside, evolutions may run; at the end the second process is ended.

        Args:
            resumed: an evolution that a killed run left unfinished continues at once.
        """
        left = [f for f in sorted(self.own.glob("beside-*")) if (f / TASK).exists() and not (f / DONE).exists()]
        try:
            if resumed and left:
                self._start(int(left[-1].name.rpartition("-")[2]))
            yield
        finally:
            self.close()

    def begin(self, task: Task, save: Callable[[Path], None]) -> None:
        """Saves the weights and what is to be evolved, and starts the process."""
        self.close()
        folder = self._folder(task.number)
        shutil.rmtree(folder, ignore_errors=True)
        save(folder / WEIGHTS)
        write_json(folder / TASK, asdict(task))
        self._start(task.number)

    def _start(self, number: int) -> None:
        self.close()
        folder = self._folder(number)
        if not (folder / TASK).exists():
            raise StateError(f"{folder} has lost the evolution beside training; continue from an older checkpoint")
        write_text(folder / RECIPE, self.recipe)
        with (folder / LOG).open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C reaches the training alone, which then ends it
            )
        self.number = number
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.words).encode() + b"\n")
        self.process.stdin.flush()

    def result(self, number: int, check: Callable[[], None]) -> tuple[Evolution, Mapping[str, float]]:
        """(The evolution for a prompt step, its seconds by phase of the cost); waits for it.

        Args:
            check: called again and again meanwhile; raises to stop.

        Raises:
            StateError: the process failed, or has written nothing for `SILENCE` seconds.
        """
        done = self._folder(number) / DONE
        if not done.exists():
            if self.number != number:  # of a run that was resumed
                self._start(number)
            self._wait(done, check)
        self.close()
        content = read_json(done)
        shutil.rmtree(done.parent / WEIGHTS, ignore_errors=True)
        return Evolution.from_dict(content["evolution"]), content["seconds"]

    def _wait(self, done: Path, check: Callable[[], None]) -> None:
        assert self.process is not None
        log, begun = done.parent / LOG, time.time()
        written = self.own / f"evolution-{self.number:03d}"
        while not done.exists():
            check()
            code = self.process.poll()
            if code is not None and not done.exists():
                raise StateError(f"the evolution beside training failed: {_reason(code, log)} (see {log})")
            signs = [path.stat().st_mtime for path in (log, *written.glob("*.jsonl"))]
            if time.time() - max(begun, *signs) > SILENCE:
                raise StateError(
                    f"the evolution beside training has made no rollout and no reply for {SILENCE / 3600:g} hours; see "
                    f"{log}, and set evolve_beside to false if this machine is too slow for both"
                )
            time.sleep(POLL)

    def close(self) -> None:
        """Ends the process, if one runs. Its work so far is in its journals."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
        self.process, self.number = None, -1


def evolving_beside(trainer: P2OTrainer, resumed: bool) -> AbstractContextManager[None]:
    """Inside, evolutions may run beside a trainer's training, if its recipe asks for it.

    Args:
        resumed: see `SecondProcess.running`.
    """
    if isinstance(trainer.beside, SecondProcess) and trainer.accelerator.is_main_process:
        return trainer.beside.running(resumed)
    return nullcontext()


def _reason(code: int, log: Path) -> str:
    if code < 0:
        return f"the second process was ended by {signal.Signals(-code).name} (is the memory used up?)"
    return last_words(log)


def _not_written(recipe: Recipe) -> dict[str, Any]:
    """The settings that `Recipe.to_yaml` leaves out or shortens, because they may hold secrets."""
    values = [(f.name, getattr(part, f.name)) for part in (recipe.task, recipe.training) for f in fields(part)]
    return {name: v for name, v in values if isinstance(v, str) and v and (is_secret(name) or name.endswith("_url"))}


def _of_one_process(recipe: Recipe) -> list[str]:
    """The batch size that the training's processes have together, so that the recipe is right for one."""
    training = recipe.training
    return setting_words({"per_device_train_batch_size": training.per_device_train_batch_size * training.world_size})


def _environment(recipe: Recipe) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}
    device = "" if recipe.training.use_cpu else recipe.training.evolve_device
    return environment if device is None else {**environment, "CUDA_VISIBLE_DEVICES": device}
