"""Checks of answers in worker processes that are killed at a deadline.

math-verify can hang for ever in C code that no Python timeout interrupts, and some reasoning-gym scorers
evaluate the text that a model wrote. So both run in small worker processes: one check at a time each, a
deadline per check, and only the check that hangs is lost.

A *source* process (``python -P verify.py KIND FD``: this file, run without the package) imports math-verify
or reasoning-gym once and forks the workers, so that a new worker costs milliseconds. They talk JSON over
sockets; nothing they send is unpickled. Pools on top of ``multiprocessing`` (pebble and others) would run the
user's main script again in every worker, and that script imports torch, or has no ``__main__`` guard.

The deadline is in seconds of CPU time, so that a reward does not depend on how crowded the machine is; four
times as many seconds on the clock are the limit for checks that sleep.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Literal

Kind = Literal["math", "reasoning_gym"]
Outcome = Literal["checked", "unreadable", "failed", "timeout", "crash"]
Task = Mapping[str, Any]
"""JSON-able. math: ``{"golds": [str, …], "text": str | None}``, where text None asks whether the golds can be
read; reasoning_gym: ``{"dataset": str, "entry": str (see `pack_json`), "answer": str}``."""

START_SECONDS = 120.0  # importing sympy or reasoning-gym on a crowded machine
MEMORY_BYTES = 4 << 30  # address space of a worker: 9^9^9 would else fill the machine before its deadline
KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
NEVER = float("inf")
READY = "ready"


@dataclass(frozen=True)
class Verdict:
    """What a check found; every outcome but ``checked`` has score 0."""

    score: float
    outcome: Outcome
    """``unreadable``: no mathematics in the text; ``failed``: the checker raised an error on this text;
    ``timeout``: killed at the deadline; ``crash``: the process died (out of memory, a fault in C code)."""


class _Source:
    """The process that has imported the checker and forks the workers."""

    def __init__(self, kind: Kind) -> None:
        self.door, theirs = socket.socketpair()
        # No secrets (API keys) in the environment of a process that evaluates text; no threads, no GPU.
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-B", __file__, kind, str(theirs.fileno())],
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
            raise _reward_error(f"{kind} answers cannot be checked: {problem or f'the process ended with code {code}'}")

    def fork(self) -> _Worker:
        ours, theirs = Pipe()
        socket.send_fds(self.door, [b"f"], [theirs.fileno()])
        theirs.close()
        return _Worker(ours, int(self.door.recv(32)))

    def close(self) -> None:
        self.door.close()
        try:
            self.process.wait(timeout=2)  # it ends once its workers have, so that it leaves no zombies
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(eq=False)
class _Worker:
    """A forked process, the index of the task it works on (None: idle), and two times on the clock."""

    conn: Connection[Any, Any]
    pid: int
    task: int | None = None
    given_at: float = 0.0
    late_at: float = NEVER
    due_at: float = NEVER

    def give(self, index: int, task: Task, deadline: float) -> None:
        self.conn.send_bytes(json.dumps({**task, "deadline": deadline}).encode())
        now = time.monotonic()
        self.task, self.given_at, self.late_at, self.due_at = (
            index,
            now,
            now + deadline / 4,
            now + 4 * deadline,
        )


class VerifyPool:
    """Worker processes for one kind of check, started when first needed and kept until `close`.

    A check that has used a quarter of its deadline no longer counts against ``size``: another worker is
    started beside it (at most ``2 * size`` in all), so that hanging checks hardly slow the others.
    """

    def __init__(self, kind: Kind, size: int | None = None) -> None:
        self.kind = kind
        self.size = size or default_size()
        self.counts: Counter[str] = Counter()
        """How many checks had which outcome, since the start."""
        self._source: _Source | None = None
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()

    def run(self, tasks: Sequence[Task], deadline: float) -> list[Verdict]:
        """Check all ``tasks``, each within ``deadline`` CPU seconds; verdicts in the order of the tasks.

        Raises RewardError if the workers cannot be started, or a task names a data set they do not know.
        """
        verdicts: dict[int, Verdict] = {}
        waiting = deque(range(len(tasks)))
        with self._lock:
            try:
                while len(verdicts) < len(tasks):
                    self._staff(len(waiting))
                    self._hand_out(waiting, tasks, deadline)
                    verdicts.update(self._collect(deadline))
            finally:  # after an error or Ctrl-C: nobody will ask for what is still being checked
                for worker in [w for w in self._workers if w.task is not None]:
                    self._dismiss(worker)
        self.counts.update(verdict.outcome for verdict in verdicts.values())
        return [verdicts[index] for index in range(len(tasks))]

    def close(self) -> None:
        """End all workers; a later `run` starts new ones."""
        for worker in list(self._workers):
            self._dismiss(worker)
        if self._source is not None:
            self._source.close()
            self._source = None

    def _staff(self, waiting: int) -> None:
        """Start as many workers as the waiting tasks can use."""
        now = time.monotonic()
        idle = sum(w.task is None for w in self._workers)
        in_time = sum(now < w.late_at for w in self._workers)
        for _ in range(min(self.size - in_time, 2 * self.size - len(self._workers), waiting - idle)):
            if self._source is None or self._source.process.poll() is not None:
                self._source = _Source(self.kind)
            self._workers.append(self._source.fork())

    def _hand_out(self, waiting: deque[int], tasks: Sequence[Task], deadline: float) -> None:
        for worker in [w for w in self._workers if w.task is None]:
            if not waiting:
                return
            try:
                worker.give(waiting[0], tasks[waiting[0]], deadline)
            except OSError:  # it died while idle; the task stays in line
                self._dismiss(worker)
            else:
                waiting.popleft()

    def _collect(self, deadline: float) -> dict[int, Verdict]:
        """Wait for the next replies, deaths or late checks; the verdicts that came, by task index."""
        busy = [w for w in self._workers if w.task is not None]
        now = time.monotonic()
        wake_at = min((t for w in busy for t in (w.late_at, w.due_at) if t > now), default=now)
        heard = wait([w.conn for w in busy], timeout=wake_at - now)
        now = time.monotonic()
        verdicts: dict[int, Verdict] = {}
        for worker in busy:
            index = worker.task
            assert index is not None
            if worker.conn in heard:
                verdicts[index] = self._hear(worker, deadline)
            elif worker.due_at <= now:
                self._dismiss(worker)
                verdicts[index] = Verdict(0.0, "timeout")
        return verdicts

    def _hear(self, worker: _Worker, deadline: float) -> Verdict:
        try:
            reply = json.loads(worker.conn.recv_bytes())
        except (EOFError, OSError):  # it died; when killed at its deadline, it had at least that long
            lasted = time.monotonic() - worker.given_at
            self._dismiss(worker)
            return Verdict(0.0, "timeout" if lasted >= deadline else "crash")
        worker.task, worker.late_at, worker.due_at = None, NEVER, NEVER
        if "fatal" in reply:
            raise _reward_error(reply["fatal"])
        return Verdict(reply["score"], reply["outcome"])

    def _dismiss(self, worker: _Worker) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        worker.conn.close()
        self._workers.remove(worker)


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


def _reward_error(message: str) -> Exception:
    from p2o.errors import RewardError  # here, because the workers run this file without the package

    return RewardError(message)


def pack_json(value: Any) -> str:
    """JSON that keeps tuples apart from lists (some reasoning-gym scorers compare with tuples)."""

    def mark(item: Any) -> Any:
        if isinstance(item, tuple):
            return {"__tuple__": [mark(part) for part in item]}
        if isinstance(item, list):
            return [mark(part) for part in item]
        if isinstance(item, dict):
            return {key: mark(part) for key, part in item.items()}
        return item

    return json.dumps(mark(value))


def unpack_json(text: str) -> Any:
    """The inverse of `pack_json`."""
    return json.loads(text, object_hook=lambda item: tuple(item["__tuple__"]) if item.keys() == {"__tuple__"} else item)


# What follows runs in the workers.

Checker = Callable[[Task], tuple[float, Outcome]]


class _FatalError(Exception):
    """Nothing is wrong with this answer: no answer of this kind can be checked."""


def _math_checker() -> Checker:
    from math_verify import parse, verify

    def read(text: str) -> Any:
        return parse(text, parsing_timeout=None)

    def readable(parsed: Any) -> bool:
        return any(not isinstance(item, str) for item in parsed)

    @lru_cache(maxsize=4096)
    def read_gold(gold: str) -> Any:
        """A bare gold answer is LaTeX without its dollars; one with delimiters is read as it stands."""
        if not any(mark in gold for mark in ("\\boxed", "\\(", "\\[", "$")):
            parsed = read(f"${gold}$")
            if readable(parsed):
                return parsed
        return read(gold)

    def check(task: Task) -> tuple[float, Outcome]:
        golds = [read_gold(gold) for gold in task["golds"]]
        if task["text"] is None:
            return (1.0, "checked") if all(map(readable, golds)) else (0.0, "unreadable")
        answer = read(task["text"])
        if any(verify(gold, answer, timeout_seconds=None) for gold in golds):
            return 1.0, "checked"
        return 0.0, ("checked" if readable(answer) else "unreadable")

    # The first check builds the tables of sympy and antlr.
    check({"golds": ["\\frac{1}{2}"], "text": "\\boxed{0.5}"})
    return check


def _gym_checker() -> Checker:
    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    scorer = lru_cache(maxsize=None)(get_score_answer_fn)

    def check(task: Task) -> tuple[float, Outcome]:
        if task["dataset"] not in DATASETS:
            raise _FatalError(f"reasoning-gym has no data set {task['dataset']!r}, so nothing can score for it")
        return float(scorer(task["dataset"])(task["answer"], unpack_json(task["entry"]))), "checked"

    return check


_DENIED = (
    *("subprocess.", "socket.", "shutil.", "ctypes.", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
    *("os.spawn", "os.kill", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink"),
    *("os.truncate", "os.chmod", "os.chown", "os.putenv"),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _deny(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: evaluated text gets no files, processes or sockets. A guard, not a sandbox."""
    if event.startswith(_DENIED) or (event == "open" and isinstance(args[2], int) and args[2] & _WRITING):
        raise PermissionError(f"{event} is not allowed in a verification process")


def _serve(kind: str, descriptor: int) -> None:
    """The source: import the checker, then fork a worker for every socket that comes through the door."""
    door = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process, which then ends us
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries dead workers
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        check = _math_checker() if kind == "math" else _gym_checker()
    except ImportError as error:
        door.send(str(error).encode())
        return
    door.send(READY.encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        if not message:
            with suppress(ChildProcessError):
                os.wait()  # returns when all workers have ended
            return
        pid = os.fork()
        if pid == 0:
            door.close()
            _work(Connection(descriptors[0]), check)
            os._exit(0)
        os.close(descriptors[0])
        door.send(str(pid).encode())


def _work(conn: Connection[Any, Any], check: Checker) -> None:
    """A worker: read tasks and write verdicts until the other end of the socket is closed."""
    sys.addaudithook(_deny)
    while True:
        try:
            task = json.loads(conn.recv_bytes())
        except (EOFError, OSError):
            return
        # The system ends this process at the deadline, whatever code it is in, and with nobody left to watch.
        signal.setitimer(signal.ITIMER_PROF, task["deadline"])
        reply: dict[str, Any]
        try:
            score, outcome = check(task)
            reply = {"score": score, "outcome": outcome}
        except _FatalError as error:
            reply = {"fatal": str(error)}
        except Exception:  # whatever a checker raises on a model's text, the answer is wrong
            reply = {"score": 0.0, "outcome": "failed"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        conn.send_bytes(json.dumps(reply).encode())


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
