"""Checks of answers in worker processes that are killed at a deadline.

math-verify can hang for ever in C code that no Python timeout interrupts, so can a regular expression of a user, and
some reasoning-gym scorers evaluate the text that a model wrote. So they all run in small worker processes
(`verifier_worker`), and only the check that hangs is lost.

A *source* process imports math-verify or reasoning-gym once and forks the workers, so that a new worker costs
milliseconds. They talk JSON over sockets; nothing they send is unpickled. Pools on top of ``multiprocessing``
(pebble and others) would run the user's main script again in every worker, and that script imports torch, or has no
``__main__`` guard.

Deadlines are seconds of CPU time, so that a reward does not depend on how crowded the machine is. On the clock a check
has 1.5 s more in all, so that one that sleeps ends as well. Many that hang in one batch run beside each other, so that
the batch ends soon after the deadline of one; then they share the cores, and on the clock each may have less.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from ..base import packed
from ..errors import RewardError
from . import verifier_worker
from .verifier_worker import READY, Check, Kind, Outcome

START_SECONDS = 120.0  # importing sympy or reasoning-gym on a crowded machine
FIRST_TRY = 0.1
"""Share of the deadline that a check gets at first. What needs more is tried again after all others, with the rest."""
MOST_AT_ONCE = 64
"""Checks that are tried again beside each other. What has no turn until the first of them are through has none."""
WALL_GRACE = 1.5
"""Seconds on the clock that a check has beyond its deadline, both tries together."""
BATCH = 16  # checks given to a worker at a time, so that it need not wait for this process in between
KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")


@dataclass(frozen=True)
class CheckResult:
    """What came of a check; every outcome but ``checked`` has score 0."""

    score: float
    outcome: Outcome
    """``unreadable``: no mathematics in the text; ``failed``: the checker raised an error on this text;
    ``timeout``: killed at the deadline; ``crash``: the process died (out of memory, a fault in C code)."""
    found: str | None = None
    """The text that a pattern found."""


class _Source:
    """The process that has imported the checker and forks the workers."""

    def __init__(self, kind: Kind) -> None:
        self.door, theirs = socket.socketpair()
        # No secrets (API keys) in the environment of a process that evaluates text; no threads, no GPU.
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-B", *map(str, (verifier_worker.__file__, kind, theirs.fileno(), packed.__file__))],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.door.settimeout(START_SECONDS)
        try:
            problem = self.door.recv(10_000).decode()
        except TimeoutError:
            problem = f"it did not start within {START_SECONDS:g} s"
        if problem != READY:
            self.close()
            code = self.process.returncode
            raise RewardError(f"{kind} answers cannot be checked: {problem or f'the process ended with code {code}'}")

    def fork(self) -> _Worker:
        ours, theirs = Pipe()
        socket.send_fds(self.door, [b"f"], [theirs.fileno()])
        theirs.close()
        pid = self.door.recv(32)
        if not pid:
            raise RewardError("the process that starts the checks of answers has died; start again")
        return _Worker(ours, int(pid))

    def close(self) -> None:
        self.door.close()
        try:
            self.process.wait(timeout=2)  # it ends once its workers have, so that it leaves no zombies
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(eq=False)
class _Worker:
    """A forked process and the checks it was given, the running one first."""

    conn: Connection[Any, Any]
    pid: int
    checks: deque[int] = field(default_factory=deque)
    seconds: float = 0.0
    """CPU seconds for each of them."""
    wall: float = 0.0
    """Seconds on the clock for each of them."""
    since: float = 0.0
    """When the running one was begun, or a little before (`time.monotonic`)."""

    @property
    def due_at(self) -> float:
        """When it is killed for having slept; never while it has nothing to do."""
        return self.since + self.wall if self.checks else math.inf

    def give(self, numbers: Sequence[int], checks: Sequence[Check], deadline: float, share: float) -> bool:
        """Have it make these checks, each with a share of the deadline; False if it died while idle."""
        self.checks, self.since = deque(numbers), time.monotonic()
        self.seconds, self.wall = share * deadline, share * (deadline + WALL_GRACE)
        batch = {"seconds": self.seconds, "checks": [checks[i] for i in numbers]}
        try:
            self.conn.send_bytes(json.dumps(batch).encode())
        except OSError:
            return False
        return True


class VerifyPool:
    """Worker processes for one kind of check, started when first needed and kept until `close`."""

    def __init__(self, kind: Kind, size: int | None = None) -> None:
        self.kind = kind
        self.size = size or default_size()
        self.counts: Counter[str] = Counter()
        """How many checks had which outcome, since the start."""
        self._source: _Source | None = None
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()

    def run(self, checks: Sequence[Check], deadline: float) -> list[CheckResult]:
        """Makes all checks (equal ones once).

        Args:
            deadline: CPU seconds for each; on the clock each has `WALL_GRACE` more.

        Returns:
            The results, in the order of the checks.

        Raises:
            RewardError: the workers cannot be started, or a check names a data set they do not know.
        """
        keys = [json.dumps(check) for check in checks]
        first = {key: n for n, key in reversed(list(enumerate(keys)))}
        with self._lock:
            try:
                made = self._make(sorted(first.values()), checks, deadline)
            finally:  # after an error or Ctrl-C: nobody will ask for what is still being checked
                for worker in self._busy:
                    self._dismiss(worker)
        results = [made[first[key]] for key in keys]
        self.counts.update(result.outcome for result in results)
        return results

    def _make(self, numbers: Sequence[int], checks: Sequence[Check], deadline: float) -> dict[int, CheckResult]:
        """The results of the checks with these numbers."""
        results: dict[int, CheckResult] = {}
        again = self._first_tries(deque(numbers), checks, deadline, results)
        if again:
            self._second_tries(deque(again), checks, deadline, results)
        return results

    def _first_tries(
        self, fresh: deque[int], checks: Sequence[Check], deadline: float, results: dict[int, CheckResult]
    ) -> list[int]:
        """Makes the checks that need little; the numbers of the others. The more of these there are, the less time a
        check has here."""
        again: list[int] = []
        while fresh or self._busy:
            self._hire(len(fresh), self.size)
            for worker in [w for w in self._workers if not w.checks]:
                count = min(len(fresh), BATCH, 1 + len(fresh) // (2 * self.size))
                batch = [fresh.popleft() for _ in range(count)]
                share = FIRST_TRY / (1 + len(again) // self.size)
                if batch and not worker.give(batch, checks, deadline, share):
                    fresh.extendleft(reversed(batch))
                    self._dismiss(worker)
            for worker in self._lost(results):
                again.append(worker.checks.popleft())
                fresh.extendleft(reversed(worker.checks))
        return again

    def _second_tries(
        self, again: deque[int], checks: Sequence[Check], deadline: float, results: dict[int, CheckResult]
    ) -> None:
        """Gives each check the rest of its deadline, many beside each other; none begins when the first must end."""
        end = time.monotonic() + (1 - FIRST_TRY) * (deadline + WALL_GRACE)
        while self._busy or (again and time.monotonic() < end):
            self._hire(len(again), MOST_AT_ONCE)
            for worker in [w for w in self._workers if not w.checks]:
                if again and time.monotonic() < end:
                    number = again.popleft()
                    if not worker.give([number], checks, deadline, 1 - FIRST_TRY):
                        again.appendleft(number)
                        self._dismiss(worker)
            for worker in self._lost(results):  # a killed one had at least its seconds
                late = time.monotonic() - worker.since >= worker.seconds
                results[worker.checks.popleft()] = CheckResult(0.0, "timeout" if late else "crash")
        results.update(dict.fromkeys(again, CheckResult(0.0, "timeout")))
        for worker in self._workers[self.size :]:
            self._dismiss(worker)

    @property
    def _busy(self) -> list[_Worker]:
        return [w for w in self._workers if w.checks]

    def _hire(self, open_checks: int, most: int) -> None:
        """Start as many workers as the open checks can use."""
        idle = len(self._workers) - len(self._busy)
        for _ in range(min(most - len(self._workers), open_checks - idle)):
            if self._source is None or self._source.process.poll() is not None:
                self._source = _Source(self.kind)
            self._workers.append(self._source.fork())

    def _lost(self, results: dict[int, CheckResult]) -> list[_Worker]:
        """Waits for news and takes the answers; the workers that died or are overdue, dismissed, with their checks."""
        lost = [w for w in self._until_news() if not self._hear(w, results) or w.due_at <= time.monotonic()]
        for worker in lost:
            self._dismiss(worker)
        return lost

    def _until_news(self) -> list[_Worker]:
        """Wait until some worker has answered, died or is overdue; those workers."""
        busy = self._busy
        if not busy:
            return []
        heard = wait([w.conn for w in busy], max(0.0, min(w.due_at for w in busy) - time.monotonic()))
        return [w for w in busy if w.conn in heard or w.due_at <= time.monotonic()]

    def _hear(self, worker: _Worker, results: dict[int, CheckResult]) -> bool:
        """Take the worker's answers as they stand in the socket; False if it died before its last."""
        try:
            while worker.checks and worker.conn.poll():
                reply = json.loads(worker.conn.recv_bytes())
                if "fatal" in reply:
                    raise RewardError(reply["fatal"])
                results[worker.checks.popleft()] = CheckResult(reply["score"], reply["outcome"], reply["found"])
                worker.since = time.monotonic()
        except (EOFError, OSError):
            return False
        return True

    def _dismiss(self, worker: _Worker) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        worker.conn.close()
        self._workers.remove(worker)

    def close(self) -> None:
        """End all workers; a later `run` starts new ones."""
        for worker in list(self._workers):
            self._dismiss(worker)
        if self._source is not None:
            self._source.close()
            self._source = None


def default_size() -> int:
    """One worker per core that this process may use, shared between the ranks of the machine; at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


_pools: dict[Kind, VerifyPool] = {}


def shared_pool(kind: Kind) -> VerifyPool:
    """The pool of this process for one kind of check."""
    return _pools.setdefault(kind, VerifyPool(kind))


def close_pools() -> None:
    """End the workers of all shared pools."""
    for pool in _pools.values():
        pool.close()


atexit.register(close_pools)
os.register_at_fork(after_in_child=_pools.clear)  # a forked child must not talk on its parent's sockets
