"""Several rewards together: the sum, what solved means, and as TRL takes them."""

from __future__ import annotations

from typing import Any

import pytest

from p2o.core.samples import Sample
from p2o.errors import RewardError
from p2o.rewards import AnswerReward, FunctionReward, GymReward, RewardSet, resolve_reward
from p2o.rewards.verifier_pool import shared_pool


def sample(answer: str | None = "42") -> Sample:
    return Sample("s1", [{"role": "user", "content": "What?"}], answer)


def returning(values: Any) -> FunctionReward:
    return FunctionReward(lambda **_: values, "mine")


def rewards(**settings: Any) -> RewardSet:
    return RewardSet([resolve_reward("exact"), returning([0.5])], **settings)


def test_a_set_weighs_and_says_what_solved_means() -> None:
    (scored,) = rewards(weights=[1.0, 0.2]).score(["42"], [sample()])
    assert scored.reward == pytest.approx(1.1)
    assert scored.rewards == {"exact": 1.0, "mine": 0.5}
    assert scored.solved
    assert scored.feedback == "exact: Right answer: 42. Reward: 1.\nmine: Reward: 0.5."
    assert not rewards(success_reward_name="mine").score(["42"], [sample()])[0].solved
    assert rewards(success_reward_name="mine", success_threshold=0.5).score(["1"], [sample()])[0].solved


def test_a_reward_that_does_not_apply_is_left_out_of_the_sum() -> None:
    (scored,) = RewardSet([returning([None])]).score(["x"], [sample()])
    assert (scored.reward, scored.solved) == (0.0, False)


def test_a_set_that_makes_no_sense_is_refused() -> None:
    for settings_, message in [
        ({"weights": [1.0]}, "1 reward weights are given for 2 rewards"),
        ({"success_reward_name": "boxed"}, "'boxed' is not among the rewards \\(exact, mine\\)"),
    ]:
        with pytest.raises(RewardError, match=message):
            rewards(**settings_)
    with pytest.raises(RewardError, match="same name"):
        RewardSet([resolve_reward("exact"), resolve_reward("exact")])
    with pytest.raises(RewardError, match="at least one"):
        RewardSet([])


def test_trl_functions_take_trls_arguments_and_are_named() -> None:
    functions = rewards().trl_functions()
    assert [function.__name__ for function in functions] == ["exact", "mine"]
    arguments: dict[str, Any] = {
        "prompts": [[{"role": "user", "content": "What?"}]],
        "completions": [[{"role": "assistant", "content": "42"}]],
        "completion_ids": [[1, 2]],
        "sample_id": ["s1"],
        "answer": ["42"],
        "trainer_state": object(),
        "log_extra": print,
    }
    assert [function(**arguments) for function in functions] == [[1.0], [0.5]]
    assert functions[0](prompts=["What?"], completions=["42"], answer=["42"]) == [1.0]


def test_the_kinds_of_rewards() -> None:
    assert isinstance(resolve_reward("boxed"), AnswerReward)
    assert isinstance(resolve_reward("reasoning_gym"), GymReward)
    assert shared_pool("math") is shared_pool("math")
    with pytest.raises(RewardError, match="reward models are not supported"):
        resolve_reward(type("Model", (), {"forward": None})())
