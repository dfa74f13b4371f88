"""A reward function that does not return is named with its stack, and stopped."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import make_trainer
from p2o.errors import RewardError
from p2o.rewards import FunctionReward
from p2o.rewards import deadline as hanging
from p2o.rewards.deadline import watch


def sleeping(**_: Any) -> list[float]:
    time.sleep(60)
    return [1.0]


def waiting_for_a_lock(**_: Any) -> list[float]:
    lock = threading.Lock()
    with lock, lock:
        return [1.0]


def looping(completions: list[str], **_: Any) -> list[float]:
    for _completion in completions:
        try:
            while True:
                pass
        except Exception:
            continue
    return [0.0]


@pytest.mark.parametrize("function", [sleeping, waiting_for_a_lock, looping])
def test_it_is_stopped_and_named(function: Any) -> None:
    reward = FunctionReward(function, function.__name__, timeout=0.3)
    start = time.monotonic()
    with pytest.raises(RewardError, match=f"'{function.__name__}' did not return within 0.3 s.* raise reward_timeout"):
        reward.call(prompts=["x"], completions=["1", "2"])
    assert time.monotonic() - start < 5


def test_after_a_minute_its_stack_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(hanging, "WARN_SECONDS", 0.1)

    def judge(**_: Any) -> list[float]:
        time.sleep(0.5)
        return [1.0]

    with caplog.at_level(logging.WARNING):
        assert watch(judge, 0)(completions=["1"]) == [1.0]
    assert "reward 'judge' has been running for 0.1 s" in caplog.text
    assert "time.sleep(0.5)" in caplog.text


def test_a_quick_one_is_left_in_peace_and_nothing_is_left_over() -> None:
    threads = threading.active_count()
    assert watch(lambda **_: [1.0], 0.2)() == [1.0]
    time.sleep(0.4)
    assert threading.active_count() == threads


def test_its_own_error_passes() -> None:
    def broken(**_: Any) -> list[float]:
        raise KeyError("answer")

    with pytest.raises(KeyError):
        watch(broken, 10)()


def test_code_that_lets_no_signal_through_ends_the_process() -> None:
    script = (
        "from p2o.rewards import deadline\ndeadline.GRACE_SECONDS = 0.2\n"
        "def endless(**_):\n    return sum(iter(int, 1))\n"  # a C loop that never returns to the interpreter
        "deadline.watch(endless, 0.2)()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "in endless" in done.stderr


def test_a_coroutine_function_stays_one_and_is_cancelled() -> None:
    async def judge(seconds: float, **_: Any) -> list[float]:
        await asyncio.sleep(seconds)
        return [1.0]

    async def impatient(**_: Any) -> list[float]:
        raise TimeoutError("of its own")

    watched = watch(judge, 0.2)
    assert inspect.iscoroutinefunction(watched)
    assert watched.__name__ == "judge"
    assert asyncio.run(watched(0)) == [1.0]
    assert asyncio.run(watch(judge, 0)(0.3)) == [1.0]
    start = time.monotonic()
    with pytest.raises(RewardError, match=r"'judge' did not return within 0\.2 s"):
        asyncio.run(watched(60))
    assert time.monotonic() - start < 2
    with pytest.raises(TimeoutError, match="of its own"):
        asyncio.run(watch(impatient, 5)())


def test_the_process_ends_soon_after_the_limit() -> None:
    assert hanging.GRACE_SECONDS <= 2


def test_models_are_left_as_they_are() -> None:
    assert watch("a/model", 1) == "a/model"


def test_a_trainer_stops_on_it(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, sleeping, reward_timeout=0.3)
    with pytest.raises(RewardError, match="'sleeping' did not return"):
        trainer.train()
