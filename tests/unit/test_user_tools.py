"""Tools and environments of a recipe: which are taken, and what the user's own code may do."""

import asyncio
import inspect
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from transformers.utils import get_json_schema

from p2o.base.text import shorten
from p2o.core.metrics import call_metrics
from p2o.core.rollout_log import LoggedRollout, RolloutLog
from p2o.core.samples import Sample
from p2o.core.turns import Calls, turns
from p2o.errors import ConfigError, RewardError, ToolError
from p2o.generation.calculator import calc
from p2o.generation.toolbox import methods_of
from p2o.generation.tools import (
    MAX_RESULT_CHARS,
    guarded_calls,
    guarded_environment,
    guarded_factories,
    guarded_tool,
    load_environments,
    load_tools,
)
from p2o.rewards import RewardSet, resolve_reward
from p2o.rewards.environment import EnvironmentReward
from p2o.runs.building import agent_arguments, rewards_of
from p2o.runs.recipe import load_recipe

OWN = '''
class Door:
    """A door."""

    def reset(self, **row):
        self.opened = False
        return " The door is closed."

    def push(self, times: int) -> str:
        """Pushes the door.

        Args:
            times: How often.
        """
        self.opened = times > 1
        return "creak"

    def get_reward(self):
        return float(self.opened)


class NoReset:
    def push(self) -> str:
        """Pushes."""
        return ""


class Slow:
    def __init__(self):
        import time

        time.sleep(30)


class Broken:
    def __init__(self):
        raise OSError("no door here")


def undescribed(times):
    return times


def lookup(word: str) -> str:
    """Looks a word up.

    Args:
        word: The word.
    """
    return word.upper()
'''


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(("asked", "result"), [("47*85", "3995"), ("3995+392", "4387"), ("3-10", "-7")])
def test_the_calculator_calculates_one_operation(asked: str, result: str) -> None:
    assert calc(asked) == result


@pytest.mark.parametrize("asked", ["47*85+392", "", "47 * 85", "9**9", "1" * 10 + "+1", "__import__('os')"])
def test_the_calculator_refuses_the_rest(asked: str) -> None:
    with pytest.raises(ValueError, match="one operation at a time"):
        calc(asked)


def test_tools_are_loaded_by_name(own: Path) -> None:
    assert [t.__name__ for t in load_tools(["builtin:calculator", f"{own}:lookup"])] == ["calc", "lookup"]


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["builtin:calculater"], "did you mean builtin:calculator"),
        (["calculator"], "use one of builtin:calculator"),
        (["OWN:nothing"], "has no function 'nothing'"),
        (["OWN:undescribed"], "'undescribed' cannot be described to a model .*give every argument a type hint"),
        (["OWN:lookup", "OWN:lookup"], "two tools of the name 'lookup'"),
    ],
)
def test_a_wrong_tool_is_refused_in_a_sentence(specs: list[str], message: str, own: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_tools([spec.replace("OWN", str(own)) for spec in specs])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoReset", "no method reset"),
        ("Broken", "cannot be made: OSError: no door here"),
        ("Slow", "'Slow' did not return within 0.2 s"),
        ("Dor", "has no class 'Dor' .did you mean Door"),
    ],
)
def test_a_wrong_environment_is_refused_in_a_sentence(name: str, message: str, own: Path) -> None:
    with pytest.raises((ConfigError, ToolError), match=message):
        load_environments(f"{own}:{name}", 0.2)


def test_what_a_tool_raises_and_returns() -> None:
    class Junk:
        def __str__(self) -> str:
            raise ValueError("cannot be shown")

    def tool(kind: str) -> object:
        """A tool.

        Args:
            kind: What it does.
        """
        if kind == "exit":
            raise SystemExit(3)
        return {"junk": Junk(), "list": [1, 2], "none": None, "long": "x" * 10**6}[kind]

    guarded = guarded_tool(tool, 5)
    assert get_json_schema(guarded) == get_json_schema(tool)
    assert guarded("list") == "[1, 2]"
    assert guarded(kind="none") == "None"
    assert len(guarded("long")) == MAX_RESULT_CHARS
    for kind, message in (("exit", "exit code 3"), ("junk", "cannot be shown"), ("other", "other")):
        with pytest.raises(Exception, match=message):  # TRL tells the policy
            guarded(kind)


def test_a_tool_that_hangs_has_failed() -> None:
    def sleepy(seconds: float) -> str:
        time.sleep(seconds)
        return "awake"

    async def asleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    assert guarded_tool(sleepy, 5)(0) == "awake"
    assert asyncio.run(guarded_tool(asleep, 5)(0)) == "awake"
    with pytest.raises(ToolError, match=r"'sleepy' did not return within 0\.2 s.* raise tool_timeout"):
        guarded_tool(sleepy, 0.2)(30)
    with pytest.raises(ToolError, match=r"'asleep' did not return within 0\.2 s"):
        asyncio.run(guarded_tool(asleep, 0.2)(30))


def test_the_parts_of_a_message_are_handed_on() -> None:
    parts = [{"type": "text", "text": "a"}]
    assert guarded_tool(lambda: parts, 5)() is parts
    assert guarded_tool(lambda: [{"a": 1}], 5)() == "[{'a': 1}]"
    assert guarded_tool(list, 5)() == "[]"


class Door:
    def __init__(self) -> None:
        self.pushed = 0

    def reset(self, **row: object) -> None:
        self.pushed = 0
        if row.get("stuck"):
            raise OSError("stuck")
        if row.get("rusty"):
            time.sleep(30)

    def push(self) -> int:
        """Pushes."""
        self.pushed += 1
        return self.pushed

    def get_reward(self) -> float:
        if self.pushed < 0:
            time.sleep(30)
        return float(self.push() > 1)


@dataclass(frozen=True)
class FrozenDoor:
    pushed: int = 0

    def reset(self, **row: object) -> None: ...


class SlottedDoor:
    __slots__ = ()

    def reset(self, **row: object) -> None: ...


def test_a_guarded_environment_is_the_same_for_trl() -> None:
    door = guarded_environment(Door, 0.5, 0.2)()
    assert type(door) is Door
    assert inspect.ismethod(door.reset)  # TRL 1.14 looks for methods
    assert [m.__name__ for m in methods_of(door)] == ["push"]
    door.reset()
    assert door.push() == 1  # as its own methods know it; where TRL calls it, it gives text
    assert guarded_calls({"push": door.push}, 5)["push"]() == "2"
    assert door.get_reward() == 1.0
    with pytest.raises(ToolError, match="reset of the environment Door raised OSError: stuck"):
        door.reset(stuck=True)
    with pytest.raises(ToolError, match=r"'reset' did not return within 0\.5 s"):
        door.reset(rusty=True)
    door.pushed = -1  # the jury is asleep
    with pytest.raises(RewardError, match=r"'get_reward' did not return within 0\.2 s.* raise reward_timeout"):
        door.get_reward()


@pytest.mark.parametrize("kind", [FrozenDoor, SlottedDoor])
def test_an_environment_may_allow_no_other_attributes(kind: type) -> None:
    assert guarded_environment(kind, 5, 5)().reset() is None


def test_environments_are_guarded_under_their_names() -> None:
    assert guarded_factories(None, 5, 5) is None
    assert list(guarded_factories({"a": Door, "b": Door}, 5, 5)) == ["a", "b"]


def test_a_recipe_names_tools_and_environments(own: Path) -> None:
    words = ["--tools", f"[builtin:calculator, '{own}:lookup']", "--environment", f"{own}:Door", "--rewards", "[]"]
    recipe = load_recipe("quickstart-tools", [*words, "--max_tool_calling_iterations", "3"])
    arguments = agent_arguments(recipe)
    assert [t.__name__ for t in arguments["tools"]] == ["calc", "lookup"]
    door = arguments["environment_factory"]()
    assert door.reset() == " The door is closed."
    rewards = rewards_of(recipe)
    assert rewards.success_reward_name == "Door"
    door.push(2)
    assert [s.solved for s in rewards.score(["", ""], [Sample("a", [])] * 2, environments=[door, object()])] == [
        True,
        False,
    ]
    assert rewards.trl_functions() == []  # TRL asks the environment itself


def test_a_recipe_without_tools_has_no_use_for_their_settings() -> None:
    assert agent_arguments(load_recipe("quickstart")) == {}
    with pytest.raises(ConfigError, match="max_tool_calling_iterations has no effect here: the recipe names no tools"):
        load_recipe("quickstart", ["--max_tool_calling_iterations", "3"])


def test_paths_of_tools_begin_in_the_recipes_folder(own: Path) -> None:
    recipe = own.with_name("mine.yaml")
    recipe.write_text("base: quickstart-tools\ntools: [own.py:lookup]\nenvironment: {door: own.py:Door}\n")
    task = load_recipe(str(recipe)).task
    assert load_tools(task.tools)[0]("a") == "A"  # type: ignore[operator]
    assert set(load_environments(task.environment, 60)) == {"door"}


def test_the_last_answer_is_judged() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "calc", "arguments": {}}}]}
    result = {"role": "tool", "name": "calc", "content": "4387"}
    sample = Sample("a", [{"role": "user", "content": "What is 47 * 85 + 392?"}], "4387")
    conversations = [
        [call, result, {"role": "assistant", "content": "4387"}],
        [call, result, {"role": "assistant", "content": "done"}],
        [call, result],
        [call, result, call],
    ]
    rewards = RewardSet([resolve_reward("last_number")])
    scored = rewards.score(conversations, [sample] * 4)
    assert [s.solved for s in scored] == [True, False, False, False]
    (function,) = rewards.trl_functions()
    given = function(prompts=[list(sample.messages)] * 4, completions=conversations, answer=["4387"] * 4)
    assert given == [1.0, 0.0, 0.0, 0.0]


def test_a_reward_function_gets_the_turns() -> None:
    def turns(completions: list[list[dict[str, object]]], **_: object) -> list[float]:
        return [float(len(completion)) for completion in completions]

    sample = Sample("a", [{"role": "user", "content": "x"}])
    messages = [{"role": "tool", "content": "1"}, {"role": "assistant", "content": "2"}]
    assert RewardSet([resolve_reward(turns)]).score([messages], [sample])[0].reward == 2.0


def test_the_reward_of_an_environment_may_be_awaited() -> None:
    class Judge:
        async def get_reward(self) -> float:
            return 0.5

    (score,) = EnvironmentReward("Judge").score(["x"], [], environments=[Judge()])
    assert score.reward == 0.5


def test_turns_are_kept_apart() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "calc", "arguments": {"a": 1}}}]}
    result = {"role": "tool", "name": "calc", "content": "x" * 500}
    messages = [call, result, {"role": "assistant", "content": "[call of calc] a forged line"}]
    assert turns(messages, 300) == [
        ("call", "calc", '{"a": 1}'),
        ("result", "calc", shorten("x" * 500, 100)),
        ("said", "", "[call of calc] a forged line"),
    ]
    assert turns([{"role": "assistant", "content": "no tool"}], 300) == []
    log = RolloutLog(Path("nowhere"))
    log.add_group("a", "q", None, [LoggedRollout("", "text", 1.0, True, turns(messages, 300))])
    log.add_group("b", "q", None, [LoggedRollout("", "text", 1.0, True)])
    assert len(log.samples["a"]["rollouts"][0]) == 5
    assert log.samples["b"]["rollouts"] == [[None, "text", 1.0, True]]


def test_a_share_of_no_calls_is_not_measured() -> None:
    figures = call_metrics([(False, Calls(0, 0)), (True, Calls(2, 1))])
    assert figures == {"p2o/tool_calls/bare": 0, "p2o/tool_calls/templated": 2, "p2o/tool_failures/templated": 0.5}
