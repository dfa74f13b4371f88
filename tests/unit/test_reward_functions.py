"""Reward functions of others: what they may return, what they are given, and how their errors are told."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2o.core.samples import Sample
from p2o.errors import RewardError
from p2o.rewards import FunctionReward, RewardSet, resolve_reward


def sample(answer: str | None = "42", **columns: Any) -> Sample:
    return Sample("s1", [{"role": "user", "content": "What?"}], answer, columns)


class Broken:
    def item(self) -> float:
        raise RuntimeError("no item")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def returning(values: Any) -> FunctionReward:
    return FunctionReward(lambda **_: values, "mine")


def test_functions_may_return_numbers_pairs_or_none() -> None:
    scores = returning([1, 0.5, (0.25, "almost"), None, True]).score(["x"] * 5, [sample()] * 5)
    assert [score.reward for score in scores] == [1.0, 0.5, 0.25, None, 1.0]
    assert scores[2].feedback == "almost"


def test_nan_and_infinity_are_not_scorable_and_counted() -> None:
    reward = returning([math.nan, math.inf, 1.0])
    assert [score.reward for score in reward.score(["x"] * 3, [sample()] * 3)] == [None, None, 1.0]
    assert RewardSet([reward]).counts()["not_scorable"] == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "'mine' returned 1 rewards for 2 completions"),
        (1.0, "'mine' returned float"),
        (None, "'mine' returned NoneType"),
        ("ab", "'mine' returned str"),
        ({"a": 1.0, "b": 0.0}, "'mine' returned dict"),
        ({1.0, 0.0}, "'mine' returned set"),
        (np.array(1.0), "'mine' returned ndarray; it must return a list"),
        (np.ones((2, 1)), "'mine' returned ndarray of shape \\(2, 1\\)"),
        (torch.ones(2, 3), "'mine' returned Tensor of shape \\(2, 3\\)"),
        (list(np.ones((2, 3))), "'mine' returned array.*cannot be made a number"),
        ([[1.0, 2.0], [0.0, 1.0]], "'mine' returned \\[1.0, 2.0\\]; a reward must be a number"),
        ([(1.0, 3), (1.0, 2)], "'mine' returned \\(1.0, 3\\); a reward must be a number"),
        ([10**400, 1], "'mine' returned 1000.*OverflowError"),
        ([10**5000, 1], "'mine' returned int that cannot be printed.*OverflowError"),
        ([1 + 2j, 1], "'mine' returned \\(1\\+2j\\); a reward must be a number"),
        ([Broken(), 1], "'mine' returned Broken that cannot be printed.*RuntimeError: no item"),
        (["good", "bad"], "'mine' returned 'good'; a reward must be a number"),
    ],
)
def test_a_broken_contract_is_named(values: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        returning(values).score(["x", "y"], [sample()] * 2)


def test_scalars_of_numpy_and_torch_are_numbers() -> None:
    half = [
        np.float16(0.5),
        np.array([0.5]),
        torch.tensor(0.5),
        torch.tensor([0.5], requires_grad=True),
        np.bool_(True),
    ]
    assert [s.reward for s in returning(half).score(["x"] * 5, [sample()] * 5)] == [0.5, 0.5, 0.5, 0.5, 1.0]
    for values in (np.array([0.5, 1]), torch.tensor([0.5, 1]), (0.5, 1), iter([0.5, 1]), (v for v in (0.5, 1))):
        assert [s.reward for s in returning(values).score(["x"] * 2, [sample()] * 2)] == [0.5, 1.0]


def line_of(function: Any, text: str) -> int:
    return next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exception_is_told_with_its_place_and_its_text_cleaned(asynchronous: bool) -> None:
    def helper() -> None:
        raise KeyError("le\x1b]52;c;eA==\x07vel\u202e\nsecond line")  # here

    def mine(**_: Any) -> Any:
        json.loads("1")
        helper()

    async def mine_async(**_: Any) -> Any:
        helper()

    with pytest.raises(RewardError) as caught:
        FunctionReward(mine_async if asynchronous else mine, "mine").score(["x"], [sample()])
    place = f"(in {__file__}, line {line_of(helper, '# here')})"
    # KeyError shows its argument as repr does
    assert str(caught.value).startswith("reward function 'mine' raised KeyError: 'le")
    assert str(caught.value).endswith(place)
    assert not {"\x1b", "\x07", "\u202e", "\n"} & set(str(caught.value))


def test_the_place_of_an_error_inside_a_library_is_the_users_line() -> None:
    def mine(**_: Any) -> Any:
        return json.loads("{")  # there

    with pytest.raises(RewardError, match=rf"JSONDecodeError.*\(in {__file__}, line {line_of(mine, '# there')}\)"):
        resolve_reward(mine).score(["x"], [sample()])


def test_an_error_whose_text_cannot_be_made_is_told_all_the_same() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    def mine(**_: Any) -> Any:
        raise MuteError

    with pytest.raises(RewardError, match=r"MuteError: <exception str\(\) failed> \(in "):
        resolve_reward(mine).score(["x"], [sample()])


async def judge(completions: Any, **_: Any) -> list[float]:
    await asyncio.sleep(0)
    return [1.0] * len(completions)


def test_async_rewards_work_inside_a_running_loop() -> None:
    """As in a notebook, by themselves and as TRL's functions."""
    rewards = RewardSet([resolve_reward(judge)])

    async def cell() -> Any:
        scored = rewards.score(["x"], [sample()])
        return scored, rewards.trl_functions()[0](prompts=["p"], completions=["x"], answer=["a"])

    (scored,), values = asyncio.run(cell())
    assert (scored.reward, values) == (1.0, [1.0])
    assert rewards.score(["x"], [sample()])[0].reward == 1.0


def test_async_rewards_inside_a_running_loop_have_their_deadline_and_their_errors() -> None:
    async def endless(**_: Any) -> Any:
        await asyncio.sleep(60)

    async def broken(**_: Any) -> Any:
        raise ValueError("no server")

    async def cell(function: Any) -> Any:
        return FunctionReward(function, "mine", timeout=0.3).score(["x"], [sample()])

    start = time.monotonic()
    with pytest.raises(RewardError, match=r"did not return within 0\.3 s"):
        asyncio.run(cell(endless))
    assert time.monotonic() - start < 2
    with pytest.raises(RewardError, match=r"raised ValueError: no server \(in "):
        asyncio.run(cell(broken))


def test_what_a_function_logs_as_feedback_is_told() -> None:
    def mine(completions: Any, log_extra: Any, log_metric: Any, trainer_state: Any, **_: Any) -> list[float]:
        log_extra("feedback", [f"look at {text[0]['content']}" for text in completions])
        log_extra("length", [1] * len(completions))
        log_metric("mean", 1.0)
        return [float(trainer_state.global_step)] * len(completions)

    scores = resolve_reward(mine).score(["x", "y"], [sample(), sample()])
    assert [score.feedback for score in scores] == ["Reward: 0. look at x", "Reward: 0. look at y"]


def test_a_function_gets_what_trl_would_give_it() -> None:
    seen: dict[str, Any] = {}

    async def mine(**arguments: Any) -> list[float]:
        seen.update(arguments)
        return [1.0]

    row = sample(level=3, completion="of the data set", completion_ids=[1])
    assert resolve_reward(mine).score(["x"], [row], completion_ids=[[7]])[0].reward == 1.0
    assert callable(seen.pop("log_extra"))
    assert callable(seen.pop("log_metric"))
    assert seen.pop("trainer_state").global_step == 0
    assert seen == {
        "prompts": [[{"role": "user", "content": "What?"}]],
        "completions": [[{"role": "assistant", "content": "x"}]],
        "completion_ids": [[7]],
        "level": [3],
        "sample_id": ["s1"],
        "answer": ["42"],
    }


def test_a_function_that_exits_is_told() -> None:
    def leave(**_: Any) -> list[float]:
        raise SystemExit(1)

    with pytest.raises(RewardError, match="reward function 'mine' raised SystemExit: 1"):
        FunctionReward(leave, "mine").score(["x"], [sample()])
