"""The verification pool: right results in order, and nothing that a check does can stop the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2o.base.packed import pack_json
from p2o.errors import RewardError
from p2o.rewards.verifier_pool import WALL_GRACE, CheckResult, VerifyPool, shared_pool

HANGING = {"golds": ["5"], "text": r"\boxed{9^{9^{9}}}"}


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifyPool]:
    pool = VerifyPool("math", size=2)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("5", "5", True),
        ("5", "6", False),
        ("\\frac12", "0.5", True),
        ("1,234", "1234", True),
        ("$\\sqrt{8}$", "2\\sqrt{2}", True),
        ("x^2-1", "(x-1)(x+1)", True),
        ("\\boxed{7}", "7", True),
        ("(1, 2]", "(1,2]", True),
        ("(1, 2]", "(1,2)", False),
    ],
)
def test_math(pool: VerifyPool, gold: str, answer: str, right: bool) -> None:
    (result,) = pool.run([{"golds": [gold], "text": f"\\boxed{{{answer}}}"}], deadline=30)
    assert (result.score, result.outcome) == (float(right), "checked")


def test_any_of_several_right_answers_will_do_and_nonsense_is_unreadable(pool: VerifyPool) -> None:
    checks = [{"golds": ["5", "6"], "text": "\\boxed{6}"}, {"golds": ["5"], "text": "\\boxed{???}"}]
    assert [r.outcome for r in pool.run(checks, deadline=30)] == ["checked", "unreadable"]


def test_hanging_checks_are_lost_alone_and_order_is_kept(pool: VerifyPool) -> None:
    checks = [{"golds": [str(n)], "text": f"\\boxed{{{n + n % 2}}}"} for n in range(40)]
    checks[0] = checks[7] = checks[8] = HANGING
    before = pool.counts["timeout"]
    start = time.monotonic()
    results = pool.run(checks, deadline=1)
    assert time.monotonic() - start < 20
    assert [n for n, r in enumerate(results) if r.outcome == "timeout"] == [0, 7, 8]
    assert all(r.score == 1 - n % 2 for n, r in enumerate(results) if n not in (0, 7, 8))
    assert pool.counts["timeout"] - before == 3


def gym_check(answer: str) -> dict[str, str]:
    """The scorer of spiral_matrix evaluates the text; it gives 0.1 if that is a list of the answer."""
    entry = pack_json({"question": "", "answer": "1 2", "metadata": {}})
    return {"dataset": "spiral_matrix", "entry": entry, "answer": answer}


def test_what_needs_more_than_its_first_try_is_finished_after_all_others() -> None:
    """The first try has a tenth of the deadline; the slow check needs more, and all of them together its rest."""
    pool = VerifyPool("reasoning_gym", size=1)
    slow = "[1, 2] if sum(range(10**8)) else []"
    answers = [slow, *(f"[1, 2, {n}]" for n in range(40)), "[1, 2]"]
    order: list[int] = []
    hear = pool._hear

    def noted(worker: Any, results: dict[int, CheckResult]) -> bool:
        known = set(results)
        alive = hear(worker, results)
        order.extend(sorted(set(results) - known))
        return alive

    pool._hear = noted  # type: ignore[method-assign]
    results = pool.run([gym_check(answer) for answer in answers], deadline=8)
    assert [r.score for r in results] == [0.1] + [0.0] * 40 + [0.1]
    assert {r.outcome for r in results} == {"checked"}
    assert order == [*range(1, 42), 0]
    (asleep,) = pool.run([gym_check("__import__('time').sleep(60)")], deadline=0.2)
    pool.close()
    assert asleep.outcome == "timeout"


@pytest.mark.parametrize(
    "sleep", ["__import__('time').sleep(60)", "__import__('threading').Event().wait(60)", "9**9**9"]
)
def test_no_check_takes_longer_than_its_deadline_and_the_grace(sleep: str) -> None:
    """Whether it works or sleeps: on the clock, from its start to its result, both tries together."""
    pool = shared_pool("reasoning_gym")
    pool.run([gym_check("1 2")], deadline=30)
    start = time.monotonic()
    (result,) = pool.run([gym_check(sleep)], deadline=1)
    assert result.outcome == "timeout"
    assert 1 <= time.monotonic() - start <= 1 + WALL_GRACE + 0.5
    assert WALL_GRACE <= 2


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("<a>(.*?)</a>", "<a>1</a> <a>\n2 </a>", "2"),
        ("(a+)+$", "aaa", "aaa"),
        ("x = (\\d*)", "x = ", None),
        ("(b)", "aaa", None),
    ],
)
def test_patterns(pattern: str, text: str, found: str | None) -> None:
    (result,) = shared_pool("pattern").run([{"pattern": pattern, "text": text}], deadline=30)
    assert (result.outcome, result.found) == ("checked", found)


def test_a_source_that_died_is_replaced_or_told() -> None:
    pool = VerifyPool("pattern", size=1)
    check = {"pattern": "(a)", "text": "a"}
    assert pool.run([check], deadline=5)[0].found == "a"
    assert pool._source is not None
    pool._source.process.kill()
    pool._source.process.wait()
    for worker in pool._workers:
        os.kill(worker.pid, signal.SIGKILL)
    assert pool.run([check], deadline=5)[0].found == "a"
    pool.close()


def test_equal_checks_are_made_once(pool: VerifyPool) -> None:
    before = pool.counts["timeout"]
    start = time.monotonic()
    assert {r.outcome for r in pool.run([HANGING] * 30, deadline=1)} == {"timeout"}
    assert time.monotonic() - start < 20
    assert pool.counts["timeout"] - before == 30


def test_a_dead_worker_is_replaced(pool: VerifyPool) -> None:
    check = {"golds": ["5"], "text": "\\boxed{5}"}
    pool.run([check], deadline=30)
    for worker in pool._workers:
        os.kill(worker.pid, signal.SIGKILL)
        while Path(f"/proc/{worker.pid}").exists():
            time.sleep(0.01)
    assert pool.run([check], deadline=30)[0].score == 1.0


def test_closing_ends_all_processes_and_a_closed_pool_starts_again(pool: VerifyPool) -> None:
    check = {"golds": ["5"], "text": "\\boxed{5}"}
    pool.run([check], deadline=30)
    pids = [worker.pid for worker in pool._workers]
    pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert pool.run([check], deadline=30)[0].score == 1.0


def test_text_that_a_scorer_evaluates_can_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "written"
    assert "PYTEST_CURRENT_TEST" in os.environ
    expected = {
        "[1, 2]": (0.1, "checked"),
        f"[open({str(file)!r}, 'w') and 1, 2]": (0.0, "checked"),
        "[__import__('os').system('true') or 1, 2]": (0.0, "checked"),
        "[1, 2] if 'PYTEST_CURRENT_TEST' in __import__('os').environ else []": (0.0, "checked"),
        "__import__('os').abort()": (0.0, "crash"),
        "exit()": (0.0, "crash"),
        "1 2": (1.0, "checked"),
    }
    checks = [gym_check(answer) for answer in expected]
    pool = shared_pool("reasoning_gym")
    found = [(result.score, result.outcome) for result in pool.run(checks, deadline=30)]
    assert dict(zip(expected, found, strict=True)) == expected
    assert not file.exists()
    with pytest.raises(RewardError, match="no data set 'spiral'"):
        pool.run([{**gym_check("1"), "dataset": "spiral"}], deadline=30)
    assert pool.run(checks[-1:], deadline=30)[0].score == 1.0  # the pool goes on


def test_workers_do_not_run_the_main_script_and_end_with_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nprint('main')\nfrom p2o.rewards.verifier_pool import shared_pool\n"
        "pool = shared_pool('math')\n"
        "print(pool.run([{'golds': ['5'], 'text': '5'}] * 3, 30)[2].score)\n"
        "print('pids', pool._source.process.pid, *[w.pid for w in pool._workers])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["main", "1.0"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in lines[2].split()[1:])
    assert done.stderr == ""


def test_a_missing_library_gives_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('No module named math_verify')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RewardError, match="math answers cannot be checked: No module named math_verify"):
        VerifyPool("math", size=1).run([HANGING], deadline=1)


def test_many_hanging_checks_do_not_wait_for_each_other() -> None:
    """On the clock a batch has about two deadlines, however many of its checks hang; the others are right."""
    pool = VerifyPool("math", size=2)
    hanging = [{"golds": [str(n)], "text": r"\boxed{9^{9^{9}}}"} for n in range(40)]
    others = [{"golds": [str(n)], "text": f"\\boxed{{{n}}}"} for n in range(40)]
    try:
        pool.run(others[:1], deadline=30)  # starts the processes
        start = time.monotonic()
        results = pool.run([*hanging, *others], deadline=3)
        assert time.monotonic() - start < 2 * (3 + WALL_GRACE) + 3
        assert [r.outcome for r in results] == ["timeout"] * 40 + ["checked"] * 40
        assert all(r.score == 1 for r in results[40:])
        assert len(pool._workers) <= 2
    finally:
        pool.close()
