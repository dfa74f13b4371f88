"""The program of the verification processes (see `verifier_pool`): run as a file, without the package.

``python -P verifier_worker.py KIND FD PACKED``, the *source*, imports the checker once and forks a worker for every
socket that comes through FD; PACKED is the file of `p2o.base.packed`. A worker reads ``{"seconds": CPU seconds per
check, "checks": [check, …]}`` and answers each check with ``{"score": float, "outcome": Outcome, "found": text or
null}``, or with ``{"fatal": sentence}``.
"""

from __future__ import annotations

import gc
import json
import math
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any, Literal

Kind = Literal["math", "reasoning_gym", "pattern"]
Outcome = Literal["checked", "unreadable", "failed", "timeout", "crash"]
Check = Mapping[str, Any]
"""JSON-able. math: ``{"golds": [str, …], "text": str | None}``, where text None asks whether the golds can be
read; reasoning_gym: ``{"dataset": str, "entry": str (see `pack_json`), "answer": str}``; pattern: ``{"pattern": str,
"text": str}``, which looks for group 1 of the last match."""

MEMORY_BYTES = 4 << 30  # address space of a worker: 9^9^9 would else fill the machine before its deadline
READY = "ready"

Checker = Callable[[Check], tuple[float, Outcome, str | None]]
"""Returns score, outcome and the text that was found."""


class _FatalError(Exception):
    """Nothing is wrong with this answer: no answer of this kind can be checked."""


WARM_UP = (
    *(("7", "8"), ("\\frac{1}{2}", "0.5"), ("-\\frac{3}{4}", "\\dfrac{6}{8}"), ("2\\sqrt{3}", "\\sqrt{13}")),
    *(("x^2 - 4", "(x-2)(x+3)"), ("(1, 2]", "[1, 3)"), ("\\{1, 2\\}", "1, 2"), ("y = 2x + 1", "2x+2")),
    *(("50\\%", "0.5"), ("1,234", "1234.5"), ("\\pi r^2", "2\\pi"), ("\\binom{5}{2}", "2^{10}")),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 3 \\end{pmatrix}"),
)
"""(gold, answer) pairs that are checked before any worker is forked: antlr and sympy fill tables as they meet new
forms, and a worker that takes over from a killed one should find them filled."""


def _math_checker() -> Checker:
    from math_verify import parse, verify

    @lru_cache(maxsize=4096)  # the rollouts of a group often give the same answer
    def read(text: str) -> Any:
        return parse(text, parsing_timeout=None)

    def readable(parsed: Any) -> bool:
        return any(not isinstance(item, str) for item in parsed)

    def read_gold(gold: str) -> Any:
        """A bare gold answer is LaTeX without its dollars; one with delimiters is read as it stands."""
        if not any(mark in gold for mark in ("\\boxed", "\\(", "\\[", "$")):
            parsed = read(f"${gold}$")
            if readable(parsed):
                return parsed
        return read(gold)

    def verify_math(check: Check) -> tuple[float, Outcome, None]:
        golds = [read_gold(gold) for gold in check["golds"]]
        if check["text"] is None:
            return (1.0, "checked", None) if all(map(readable, golds)) else (0.0, "unreadable", None)
        answer = read(check["text"])
        if any(verify(gold, answer, timeout_seconds=None) for gold in golds):
            return 1.0, "checked", None
        return 0.0, ("checked" if readable(answer) else "unreadable"), None

    for gold, answer in WARM_UP:
        verify_math({"golds": [gold], "text": f"\\boxed{{{answer}}}"})
    return verify_math


def _gym_checker() -> Checker:
    import runpy

    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    scorer = lru_cache(maxsize=None)(get_score_answer_fn)
    unpack_json = runpy.run_path(sys.argv[3])["unpack_json"]

    def score_gym(check: Check) -> tuple[float, Outcome, None]:
        if check["dataset"] not in DATASETS:
            raise _FatalError(f"reasoning-gym has no data set {check['dataset']!r}, so nothing can score for it")
        score = float(scorer(check["dataset"])(check["answer"], unpack_json(check["entry"])))
        return (score, "checked", None) if math.isfinite(score) else (0.0, "failed", None)

    return score_gym


def _pattern_checker() -> Checker:
    compiled = lru_cache(maxsize=None)(lambda pattern: re.compile(pattern, re.DOTALL))

    def find(check: Check) -> tuple[float, Outcome, str | None]:
        found = compiled(check["pattern"]).findall(check["text"])
        return 1.0, "checked", (found[-1].strip() or None) if found else None

    return find


CHECKERS: Mapping[str, Callable[[], Checker]] = {
    "math": _math_checker,
    "reasoning_gym": _gym_checker,
    "pattern": _pattern_checker,
}


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
        checker = CHECKERS[kind]()
    except ImportError as error:
        door.send(str(error).encode())
        return
    gc.freeze()  # the workers share what is there now, and their collector passes it by
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
            _work(Connection(descriptors[0]), checker)
            os._exit(0)
        os.close(descriptors[0])
        door.send(str(pid).encode())


def _work(conn: Connection[Any, Any], checker: Checker) -> None:
    """A worker: reads checks and writes results until the other end of the socket is closed."""
    sys.addaudithook(_deny)
    while True:
        try:
            batch = json.loads(conn.recv_bytes())
            for check in batch["checks"]:
                # The system ends this process at the deadline, whatever code it is in, and with nobody left to watch.
                signal.setitimer(signal.ITIMER_PROF, batch["seconds"])
                reply = _result(check, checker)
                signal.setitimer(signal.ITIMER_PROF, 0)
                conn.send_bytes(json.dumps(reply).encode())
        except (EOFError, OSError):
            return


def _result(check: Check, checker: Checker) -> dict[str, Any]:
    try:
        score, outcome, found = checker(check)
    except _FatalError as error:
        return {"fatal": str(error)}
    except Exception:  # whatever a checker raises on a model's text, the answer is wrong
        score, outcome, found = 0.0, "failed", None
    return {"score": score, "outcome": outcome, "found": found}


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
