"""The agent loop around verl's and a user's own: what is generated, what is handed back, what is refused."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import user_loops
import user_tool
from hydra import compose, initialize_config_dir
from reward import NOTED
from tiny_run import overrides
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.tools.function_tool import get_function_tool
from verl.workers.rollout.replica import TokenOutput

from p2o.core.turns import transcript
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model
from p2o.verl.agent_check import agent_loop_of, check_agent_loops
from p2o.verl.agent_loop import (
    AGENT,
    OVERFLOW,
    PROMPT_IDS,
    SAMPLE_ID,
    STORED_PROMPT,
    TEMPLATE,
    TEMPLATES,
)
from p2o.verl.scored_rollouts import turns_of
from p2o.verl.texts import hold

assert user_loops
assert user_tool

HINT = "Show your work."
QUESTION = [{"role": "user", "content": "What is 1+2?"}]
SAYS = ["w:l 1+2=3; 3", "3"]
"""Of the model, turn by turn; the first calls the tool."""
LOOPS = ["single_turn_agent", "tool_agent", "ask_again"]


class Server:
    """Stands for verl's servers: says `SAYS` one after the other."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.asked = tokenizer, []

    async def generate(self, request_id: str, *, prompt_ids: list[int], **more: Any) -> TokenOutput:
        said = SAYS[min(len(self.asked), len(SAYS) - 1)]
        self.asked.append(self.tokenizer.decode(prompt_ids))
        ids = [*self.tokenizer(said, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), stop_reason="completed")


@pytest.fixture
def worker() -> SimpleNamespace:
    """What P²O reads of a rollout worker of verl."""
    changes = [
        "actor_rollout_ref.rollout.multi_turn.enable=True",
        "actor_rollout_ref.rollout.multi_turn.format=written_work",
        "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=2",
    ]
    with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", [*overrides(Path(".")), *changes])
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    # Tools are part of the prompt, as with real models.
    tokenizer.chat_template = "{% if tools %}{{ 'Tools: ' ~ tools[0]['function']['name'] ~ '. ' }}{% endif %}" + (
        tokenizer.chat_template
    )
    tools = [get_function_tool("note")]
    return SimpleNamespace(
        config=config, tokenizer=tokenizer, processor=None, hf_model_type="llama", dataset_cls=None, tools=tools
    )


def roll_out(worker: SimpleNamespace, agent: str, template: str, stored: str = "bare", **columns: Any) -> Any:
    """One rollout, and the prompts that the server was asked."""
    server = Server(worker.tokenizer)
    hold([template], 1)

    async def run() -> AgentLoopOutput:
        loop = agent_loop_of(worker, server)
        ours = {AGENT: agent, TEMPLATES: [0, 1 if template else 0], STORED_PROMPT: stored, SAMPLE_ID: "s"}
        return await loop.run({}, **{"raw_prompt": QUESTION, "uid": "u", "session_id": 1, **ours, **columns})

    return asyncio.run(run()), server.asked


@pytest.mark.parametrize("agent", LOOPS)
def test_a_templated_rollout_is_handed_back_on_the_bare_prompt(worker: SimpleNamespace, agent: str) -> None:
    bare, bare_asked = roll_out(worker, agent, "")
    templated, asked = roll_out(worker, agent, HINT)
    assert [HINT in prompt for prompt in asked] == [True] * len(asked), "in the prompt of every turn"
    assert [prompt.count(HINT) for prompt in asked] == [1] * len(asked), "in the question alone"
    assert [prompt.replace(f"{HINT}\n\n", "") for prompt in asked] == bare_asked
    assert templated.prompt_ids == bare.prompt_ids, "tools and all"
    assert (templated.response_ids, templated.response_mask) == (bare.response_ids, bare.response_mask)
    assert templated.response_logprobs == bare.response_logprobs
    assert worker.tokenizer.decode(templated.extra_fields[PROMPT_IDS]) == asked[0]
    assert templated.extra_fields[TEMPLATE] == 1, "its number"
    assert not bare.extra_fields.keys() & {TEMPLATE, PROMPT_IDS, OVERFLOW}


@pytest.mark.parametrize("agent", ["tool_agent", "ask_again"])
def test_the_mask_holds_the_models_own_tokens(worker: SimpleNamespace, agent: str) -> None:
    output, asked = roll_out(worker, agent, HINT)
    assert len(asked) == 2
    own = [i for i, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    assert worker.tokenizer.decode(own, skip_special_tokens=True) == "".join(SAYS)
    other = [i for i, mask in zip(output.response_ids, output.response_mask, strict=True) if not mask]
    assert worker.tokenizer.decode(other, skip_special_tokens=True) == NOTED


def test_the_tool_is_part_of_both_prompts(worker: SimpleNamespace) -> None:
    output, asked = roll_out(worker, "tool_agent", HINT)
    assert asked[0].startswith("Tools: note.")
    assert worker.tokenizer.decode(output.prompt_ids).startswith("Tools: note.")


def test_without_distillation_the_templated_prompt_is_kept(worker: SimpleNamespace) -> None:
    output, asked = roll_out(worker, "tool_agent", HINT, stored="templated")
    assert worker.tokenizer.decode(output.prompt_ids) == asked[0]


def test_a_prompt_made_anew_has_the_template_in_the_same_message(worker: SimpleNamespace) -> None:
    output, asked = roll_out(worker, "starts_anew", HINT)
    bare, _ = roll_out(worker, "starts_anew", "")
    assert [prompt.count(HINT) for prompt in asked] == [1, 1]
    assert asked[1].index(HINT) == asked[0].index(HINT)
    assert output.prompt_ids == bare.prompt_ids


@pytest.mark.parametrize("agent", LOOPS)
def test_a_template_that_does_not_fit_leaves_the_rollout_bare(worker: SimpleNamespace, agent: str) -> None:
    bare, bare_asked = roll_out(worker, agent, "")
    output, asked = roll_out(worker, agent, HINT * 50)
    assert asked == bare_asked
    assert (output.prompt_ids, output.response_ids) == (bare.prompt_ids, bare.response_ids)
    assert output.extra_fields[OVERFLOW]
    assert TEMPLATE not in output.extra_fields


@pytest.mark.parametrize(
    ("agent", "says"),
    [("own_tokens", "ct_build_initial_tokens"), ("two_outputs", "2 outputs for one rollout")],
)
def test_an_agent_loop_that_cannot_be_wrapped_is_refused(worker: SimpleNamespace, agent: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        roll_out(worker, agent, HINT)


class Actor:
    """A rollout worker as Ray calls it, in this process."""

    def __init__(self, worker: SimpleNamespace) -> None:
        self.worker = worker
        self.__ray_call__ = SimpleNamespace(remote=lambda function, *args: function(self.worker, *args))


@pytest.fixture
def check(worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ray, "get", lambda answers: answers)
    return lambda agent: check_agent_loops([Actor(worker)], {agent: {"raw_prompt": QUESTION}})


@pytest.mark.parametrize("agent", [*LOOPS, "starts_anew"])
def test_a_trial_before_training_passes(check: Any, agent: str) -> None:
    check(agent)


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ("own_tokens", "'own_tokens' hands back a prompt that it did not make"),
        ("two_outputs", "'two_outputs' hands back 2 outputs"),
        ("fails", "'fails' failed in a trial rollout before training: OSError: no route to the game server"),
        ("unknown", "does not know the agent loop 'unknown', only .*tool_agent"),
    ],
)
def test_a_trial_before_training_refuses(check: Any, agent: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check(agent)


def test_a_transcript_tells_apart_who_said_what(worker: SimpleNamespace) -> None:
    output, _ = roll_out(worker, "ask_again", HINT)

    def decode(ids: list[int]) -> str:
        return worker.tokenizer.decode(ids, skip_special_tokens=True)

    text = transcript(turns_of(output.response_ids, output.response_mask, decode))
    assert text == f"{SAYS[0]}\n\n[environment] {NOTED}\n\n{SAYS[1]}"
    assert transcript(turns_of(output.response_ids[:3], [1, 1, 1], decode)) == decode(output.response_ids[:3])
