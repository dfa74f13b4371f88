"""The turns of a rollout as text: what is shortened, and what is counted."""

import pytest

from p2o.core.turns import calls_in, transcript
from p2o.errors import ConfigError
from p2o.generation.row_ids import RowIds, with_rows
from p2o.generation.toolbox import Toolbox, with_observation


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def trajectory(turns):
    messages = [{"role": "environment", "content": "A door."}]
    for n in range(turns):
        messages += [
            {"role": "assistant", "content": f"Turn {n}.", "tool_calls": [call("open", door=n)]},
            {"role": "tool", "name": "open", "content": "{'error': 'locked'}" if n % 2 else f"door {n} " + "x" * 200},
        ]
    return [*messages, {"role": "assistant", "content": "I give up: all doors are locked."}]


def test_one_answer_is_its_own_text():
    assert transcript([{"role": "assistant", "content": "The sum is 12."}]) == "The sum is 12."


def test_calls_results_and_errors_are_told():
    text = transcript(trajectory(2))
    assert text.startswith(
        '[environment] A door.\n\nTurn 0.\n\n[call of open] {"door": 0}\n\n[result of open] door 0 x'
    )
    assert "[result of open] {'error': 'locked'}" in text


@pytest.mark.parametrize("limit", [2000, 700, 400, 200, 60])
def test_the_middle_of_the_trajectory_is_left_out(limit):
    messages = trajectory(12)
    text = transcript(messages, limit)
    assert len(text) <= limit
    if limit >= 200:
        assert text.startswith("[environment] A door.")
        assert text.endswith("\n\nI give up: all doors are locked.")  # the last message is whole
        assert "parts left out …]" in text
    assert transcript(messages, 10**6) == transcript(messages)


def test_a_long_result_does_not_push_the_errors_out():
    messages = trajectory(2)
    messages[2]["content"] = "y" * 50_000
    text = transcript(messages, 800)
    assert "{'error': 'locked'}" in text
    assert '[call of open] {"door": 0}' in text


def test_calls_are_counted_with_those_that_failed():
    calls = calls_in(trajectory(5))
    assert (calls.count, calls.failed) == (5, 2)
    assert calls_in([{"role": "assistant", "content": "{'error': 1}"}]).count == 0


def test_what_is_added_to_a_row_s_ids_is_of_that_row():
    first, second = with_rows([[1, 2], [3]])
    longer = second + [4] + [5, 6]  # noqa: RUF005 (as TRL writes it)
    assert (longer, longer.row) == ([3, 4, 5, 6], 1)
    assert isinstance(longer, RowIds)
    assert type(longer[1:]) is list
    assert first == [1, 2]


class Counting:
    made = 0

    def __init__(self):
        Counting.made += 1

    def reset(self, **row):
        return None

    def step(self):
        """Steps."""

    def get_reward(self):
        return 0.0

    def _hidden(self):
        pass


def test_environments_are_made_once_and_used_again():
    box = Toolbox(environment_factory={"a": Counting, "b": Counting})
    names = box.names([{"environment": "a"}, {"environment": "b"}, {"environment": "a"}])
    taken = box.take(names)
    assert len(set(map(id, taken))) == 3
    assert box.take(names) == taken
    assert Counting.made == 3
    assert [tool.__name__ for tool in box.of(taken[0])] == ["step"]
    with pytest.raises(ConfigError, match=r"'c', which is not among the environments a, b"):
        box.names([{"environment": "c"}])
    with pytest.raises(ConfigError, match="method reset"):
        Toolbox(environment_factory=object)


def test_what_an_environment_says_is_added_as_trl_adds_it():
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert with_observation(prompt, " now")[-1]["content"] == "q now"
    part = {"type": "text", "text": "now"}
    assert with_observation(prompt, [part])[-1]["content"] == [{"type": "text", "text": "q"}, part]
    parts = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
    assert with_observation(parts, "now")[-1]["content"] == [{"type": "text", "text": "q"}, part]
    assert prompt[-1]["content"] == "q"
