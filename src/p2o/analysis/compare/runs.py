"""The runs of a comparison: one process each, so that none leaks into the next; finished ones are not repeated."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ...base.files import read_json, write_json
from ...base.terminal import progress_bar
from ...errors import ConfigError
from .arms import Arm
from .results import RunResult, prompt_only_result, result_file, trained_result

Command = list[str]


@dataclass(frozen=True)
class Task:
    """One run to be made."""

    arm: Arm
    seed: int
    comparison: Path
    """The comparison's folder."""
    settings: Mapping[str, Any]
    """Keys of the recipe that differ from the comparison's own: the arm's and the budget's."""

    @property
    def folder(self) -> Path:
        """The run's own directory."""
        return self.comparison / self.arm.name / f"seed-{self.seed}"

    @property
    def label(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"

    @property
    def finished(self) -> bool:
        return result_file(self.folder, self.arm.kind != "prompt_only").exists()

    def result(self, group: str | None) -> RunResult:
        if self.arm.kind == "prompt_only":
            return prompt_only_result(self.folder, self.seed)
        return trained_result(self.folder, self.seed, group)


@dataclass(frozen=True)
class Launcher:
    """How a run's commands are started.

    Args:
        recipe: name or file.
        overrides: the comparison's own.
        prefix: what starts ``-m p2o``: this Python, or ``torchrun --nproc_per_node 8``.
        parts: held-out part → data source.
        model: the starting policy.
    """

    recipe: str
    overrides: Sequence[str]
    prefix: Sequence[str]
    parts: Mapping[str, str]
    model: str

    def run(self, task: Task, start: Callable[[Command, TextIO, TextIO], int]) -> None:
        """Makes a run; what it prints goes to a log file beside its folder.

        Args:
            start: runs a command to its end, given the log and the lock that it inherits; its exit code.

        Raises:
            ConfigError: it failed, or an earlier comparison is still at it.
        """
        task.folder.mkdir(parents=True, exist_ok=True)
        log_path = task.folder.parent / f"{task.folder.name}.log"
        with log_path.open("a", encoding="utf-8") as log, _alone(task) as lock:
            make = self._prompt_only if task.arm.kind == "prompt_only" else self._train
            for command in make(task):
                if start(command, log, lock):
                    raise ConfigError(f"{task.label} failed: {_last_line(log_path)} (see {log_path})")

    def _train(self, task: Task) -> Iterator[Command]:
        yield [*self.prefix, "-m", "p2o", "train", self.recipe, *self._keys(task)]

    def _prompt_only(self, task: Task) -> Iterator[Command]:
        """Evolves on the starting policy, and evaluates it under the best template."""
        own, pool = task.folder / "p2o", task.folder / "p2o" / "pool.json"
        if not pool.exists():
            yield [sys.executable, "-m", "p2o", "evolve", self.recipe, *self._keys(task)]
        found = any(template["text"] for template in read_json(pool)["pool"])
        files = {part: f"eval_{part}.json" for part in self.parts}
        for part, source in self.parts.items():
            with_pool = ["--pool", str(pool)] if found else []
            yield [
                sys.executable, "-m", "p2o", "eval", self.model, self.recipe, *with_pool,
                "--out", str(own / files[part]), *self._keys(task), f"--test={json.dumps(source)}",
            ]  # fmt: skip
        write_json(result_file(task.folder, trained=False), {"parts": files})

    def _keys(self, task: Task) -> list[str]:
        settings = {**task.settings, "seed": task.seed, "output_dir": str(task.folder), "disable_tqdm": True}
        return [*self.overrides, *(f"--{key}={json.dumps(value)}" for key, value in settings.items())]


@contextmanager
def _alone(task: Task) -> Iterator[TextIO]:
    """Holds the run's lock, which its process inherits: it may outlive a comparison that was killed."""
    with (task.folder.parent / f"{task.folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{task.label} is still being made in {task.folder} by an earlier comparison; wait for it, or stop it"
            ) from None
        yield lock


class Runner:
    """Makes runs, ``jobs`` at a time, with a bar that shows the time left."""

    def __init__(self, launcher: Launcher, jobs: int) -> None:
        self.launcher = launcher
        self.jobs = jobs
        self.running: set[subprocess.Popen[Any]] = set()
        self.seconds: dict[str, list[float]] = {}
        self.failures: list[str] = []

    def make(self, tasks: Sequence[Task], waiting: int = 0) -> None:
        """Makes the tasks that are not finished. A run that fails is noted, and the others go on.

        Args:
            waiting: runs that come after these, for the time left.
        """
        open_tasks = [task for task in tasks if not task.finished]
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        bar = progress_bar(len(tasks), "runs", unit="run")
        bar.update(len(tasks) - len(open_tasks))
        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = {pool.submit(self._one, task): task for task in open_tasks}
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, ConfigError):
                    self.failures.append(str(error))
                elif error is not None:
                    raise error
                bar.update(1)
                left = [t for f, t in futures.items() if not f.done()]
                bar.set_postfix_str(f"{futures[future].label} done; {self._left(left, waiting)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(self.running):
                process.terminate()
            raise
        finally:
            pool.shutdown()
            bar.close()
            signal.signal(signal.SIGTERM, previous)

    def _one(self, task: Task) -> None:
        started = time.perf_counter()
        self.launcher.run(task, self._start)
        self.seconds.setdefault(task.arm.name, []).append(time.perf_counter() - started)

    def _start(self, command: Command, log: TextIO, lock: TextIO) -> int:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, pass_fds=[lock.fileno()])
        self.running.add(process)
        try:
            return process.wait()
        finally:
            self.running.discard(process)

    def _left(self, tasks: Sequence[Task], waiting: int) -> str:
        known = [s for row in self.seconds.values() for s in row]
        if not known:
            return ""
        mean = sum(known) / len(known)
        rows = [self.seconds.get(task.arm.name, [mean]) for task in tasks]
        total = sum(sum(row) / len(row) for row in rows) + waiting * mean
        return f"about {total / self.jobs / 60:.0f} min left"


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line.startswith("p2o: ")] or [line for line in lines if line] or ["no output"]
    return said[-1].removeprefix("p2o: ")
