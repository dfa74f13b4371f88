"""Before training: every agent loop that the run asks for makes one trial rollout, with a template and no model.

verl logs the error of a rollout and goes on without it; an agent loop that cannot be wrapped would cost an epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, ToolListWrap
from verl.workers.rollout.replica import TokenOutput

from ..errors import ConfigError
from . import NAME
from .agent_loop import AGENT, TEMPLATES, P2OAgentLoop, known_agent_loops
from .texts import hold

TRIAL_SECONDS = 120
"""How long a trial rollout may take; an environment may have to start."""


def check_agent_loops(workers: Sequence[Any], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Asks verl's rollout workers for the agent loops.

    Args:
        workers: of verl's `AgentLoopManager`.
        rows: agent loop → a row of the training data that asks for it.

    Raises:
        ConfigError: a worker does not know one of them, or P²O itself; or one cannot be wrapped.
    """
    for known in ray.get([worker.__ray_call__.remote(_known) for worker in workers]):
        if NAME not in known:
            raise ConfigError(
                f"a rollout worker of verl does not know the agent loop {NAME!r}; install this package with its extra "
                "verl on every node, and leave VERL_USE_EXTERNAL_PLUGINS at 'auto' or put 'p2o' into it"
            )
        for agent in rows.keys() - known:
            raise ConfigError(
                f"a rollout worker of verl does not know the agent loop {agent!r}, only "
                f"{', '.join(sorted(known - {NAME}))}; register it in a module of VERL_USE_EXTERNAL_MODULES or by "
                "actor_rollout_ref.rollout.agent.agent_loop_config_path"
            )
    for agent, row in rows.items():
        wrong = ray.get(workers[0].__ray_call__.remote(_try_out, agent, dict(row)))
        if wrong:
            raise ConfigError(wrong)


def _known(worker: Any) -> frozenset[str]:
    """Run in a rollout worker."""
    return known_agent_loops()


def _try_out(worker: Any, agent: str, row: dict[str, Any]) -> str:
    """Run in a rollout worker, in a thread of its own because the worker's event loop is taken: what is wrong with the
    agent loop, in one sentence, or ""."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, _trial(worker, agent, row)).result()


def agent_loop_of(worker: Any, server_manager: Any) -> P2OAgentLoop:
    """An agent loop as a rollout worker makes it, with another server."""
    return P2OAgentLoop(
        trainer_config=DictConfigWrap(worker.config),
        server_manager=server_manager,
        tokenizer=worker.tokenizer,
        processor=worker.processor,
        hf_model_type=worker.hf_model_type,
        dataset_cls=worker.dataset_cls,
        data_config=DictConfigWrap(worker.config.data),
        tools=ToolListWrap(worker.tools),
    )


async def _trial(worker: Any, agent: str, row: dict[str, Any]) -> str:
    hold(["Trial."], 1)  # the first template of the run takes its place
    loop = agent_loop_of(worker, SaysNothing(worker.tokenizer.eos_token_id))
    columns = {**row, "uid": "trial", "session_id": 0, "global_steps": 0, AGENT: agent, TEMPLATES: [1]}
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "logprobs": True}
    try:
        await asyncio.wait_for(loop.run(sampling, **columns), TRIAL_SECONDS)
    except ConfigError as error:
        return str(error)
    except TimeoutError:
        return (
            f"the agent loop {agent!r} did not end a trial rollout with empty answers within {TRIAL_SECONDS} seconds; "
            "let it end after a number of turns"
        )
    except Exception as error:  # a user's code
        return f"the agent loop {agent!r} failed in a trial rollout before training: {type(error).__name__}: {error}"
    return ""


class SaysNothing:
    """Stands for verl's servers: every answer is empty.

    Args:
        eos: the token that ends an answer.
    """

    def __init__(self, eos: int) -> None:
        self.eos = eos

    async def generate(self, request_id: str, **asked: Any) -> TokenOutput:
        """An empty answer, as verl's `LLMServerClient` gives one."""
        return TokenOutput(token_ids=[self.eos], log_probs=[0.0], stop_reason="completed")
