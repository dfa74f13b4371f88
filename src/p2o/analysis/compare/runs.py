"""The runs of a comparison: one process each, so that none leaks into the next; finished ones are not repeated."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ...base.files import read_json, write_json
from ...base.live import Bar
from ...base.lock import locked
from ...base.text import last_words
from ...errors import ConfigError
from ...runs.reading import setting_words
from .arms import Arm
from .results import RunResult, prompt_only_result, result_file, trained_result

Command = list[str]


@dataclass(frozen=True)
class ComparisonRun:
    """One run of a comparison: an arm with a seed."""

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
        """The run in words."""
        return f"{self.arm.name}, seed {self.seed}"

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return result_file(self.folder, self.arm.kind != "prompt_only").exists()

    def result(self, group: str | None) -> RunResult:
        """What the run came to; its curve on one group of the test data alone, if ``group`` names one."""
        if self.arm.kind == "prompt_only":
            return prompt_only_result(self.folder, self.seed)
        return trained_result(self.folder, self.seed, group)


class Launcher:
    """How a run's commands are started."""

    def commands(self, run: ComparisonRun) -> Iterator[Command]:
        """The commands that make a run, one after the other."""
        raise NotImplementedError

    def make(self, run: ComparisonRun, start: Callable[[Command, TextIO, TextIO], int]) -> None:
        """Makes a run; what it prints goes to a log file beside its folder.

        Args:
            start: runs a command to its end, given the log and the lock that it inherits; its exit code.

        Raises:
            ConfigError: it failed, or an earlier comparison is still at it.
        """
        run.folder.mkdir(parents=True, exist_ok=True)
        log_path = run.folder.parent / f"{run.folder.name}.log"
        with log_path.open("a", encoding="utf-8") as log, _alone(run) as lock:
            for command in self.commands(run):
                if start(command, log, lock):
                    raise ConfigError(f"{run.label} failed: {last_words(log_path)} (see {log_path})")


@dataclass(frozen=True)
class RecipeLauncher(Launcher):
    """Trains a recipe with this package's own commands.

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

    def commands(self, run: ComparisonRun) -> Iterator[Command]:
        """``p2o train``; of an arm that is not trained ``p2o evolve`` and ``p2o eval``."""
        return self._prompt_only(run) if run.arm.kind == "prompt_only" else self._train(run)

    def _train(self, run: ComparisonRun) -> Iterator[Command]:
        yield [*self.prefix, "-m", "p2o", "train", self.recipe, *self._keys(run)]

    def _prompt_only(self, run: ComparisonRun) -> Iterator[Command]:
        """Evolves on the starting policy, and evaluates it under the best template."""
        own, pool = run.folder / "p2o", run.folder / "p2o" / "pool.json"
        if not pool.exists():
            yield [sys.executable, "-m", "p2o", "evolve", self.recipe, *self._keys(run)]
        found = any(template["text"] for template in read_json(pool)["pool"])
        files = {part: f"eval_{part}.json" for part in self.parts}
        for part, source in self.parts.items():
            with_pool = ["--pool", str(pool)] if found else []
            yield [
                sys.executable, "-m", "p2o", "eval", self.model, self.recipe, *with_pool,
                "--out", str(own / files[part]), *self._keys(run), *setting_words({"test": source}),
            ]  # fmt: skip
        write_json(result_file(run.folder, trained=False), {"parts": files})

    def _keys(self, run: ComparisonRun) -> list[str]:
        settings = {**run.settings, "seed": run.seed, "output_dir": str(run.folder), "disable_tqdm": True}
        return [*self.overrides, *setting_words(settings)]


def _alone(run: ComparisonRun) -> AbstractContextManager[TextIO]:
    """The run's lock, which its process inherits: it may outlive a comparison that was killed."""
    taken = f"{run.label} of an earlier comparison is still running in {run.folder}; wait for it, or stop it"
    return locked(run.folder.parent / f"{run.folder.name}.lock", taken)


class Runner:
    """Makes runs, ``jobs`` at a time, with a bar that shows the time left."""

    def __init__(self, launcher: Launcher, jobs: int) -> None:
        self.launcher = launcher
        self.jobs = jobs
        self.running: set[subprocess.Popen[Any]] = set()
        self.seconds: dict[str, list[float]] = {}
        self.failures: list[str] = []

    def make(self, runs: Sequence[ComparisonRun], waiting: int = 0) -> None:
        """Makes the runs that are not finished. A run that fails is noted, and the others are still made.

        Args:
            waiting: runs that come after these, for the time left.
        """
        open_runs = [run for run in runs if not run.finished]
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        bar = Bar(len(runs), "runs", unit="runs")
        bar.advance(len(runs) - len(open_runs))
        pool = ThreadPoolExecutor(self.jobs)
        try:
            futures = {pool.submit(self._one, run): run for run in open_runs}
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, ConfigError):
                    self.failures.append(str(error))
                elif error is not None:
                    raise error
                bar.advance()
                left = [r for f, r in futures.items() if not f.done()]
                bar.note(f"{futures[future].label} done; {self._left(left, waiting)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(self.running):
                process.terminate()
            raise
        finally:
            pool.shutdown()
            bar.close()
            signal.signal(signal.SIGTERM, previous)

    def _one(self, run: ComparisonRun) -> None:
        started = time.perf_counter()
        self.launcher.make(run, self._start)
        self.seconds.setdefault(run.arm.name, []).append(time.perf_counter() - started)

    def _start(self, command: Command, log: TextIO, lock: TextIO) -> int:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, pass_fds=[lock.fileno()])
        self.running.add(process)
        try:
            return process.wait()
        finally:
            self.running.discard(process)

    def _left(self, runs: Sequence[ComparisonRun], waiting: int) -> str:
        known = [s for row in self.seconds.values() for s in row]
        if not known:
            return ""
        mean = sum(known) / len(known)
        rows = [self.seconds.get(run.arm.name, [mean]) for run in runs]
        total = sum(sum(row) / len(row) for row in rows) + waiting * mean
        return f"about {total / self.jobs / 60:.0f} min left"
