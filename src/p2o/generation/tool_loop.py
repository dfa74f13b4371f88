"""Rollouts of several turns outside of a training step: TRL's own tool loop, over a policy.

Evolutions, evaluations and ``p2o eval`` use it. Training uses the same loop as a part of TRL's step (`p2o.trl.turns`).
"""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, Protocol

from trl import GRPOTrainer
from trl.chat_template_utils import (
    add_response_schema,
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    supports_tool_calling,
)
from trl.trainer.utils import start_event_loop_in_daemon

from ..core.samples import content_text
from ..core.templates import apply_to_prompt
from ..core.turns import ENVIRONMENT, TRANSCRIPT_CHARS, calls_in, transcript
from ..errors import ConfigError
from .local import LocalPolicy
from .policies import Completion, Policy, isolated_rng, seed_of
from .row_ids import RowIds, with_rows
from .settings import GenerationSettings, Prompt
from .toolbox import Toolbox
from .tools import guarded_calls

NOTHING: tuple[Mapping[str, Any], ...] = ({"role": "assistant", "content": ""},)
"""The messages of a rollout that was not drawn."""


class IdPolicy(Policy, Protocol):
    """A policy that completes token ids (`p2o.generation.local.LocalPolicy`, `p2o.trl.engine_policy.EnginePolicy`)."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""

    @property
    def settings(self) -> GenerationSettings:
        """The settings of its sampling."""

    def complete_ids(self, rows: Sequence[list[int]], temperature: float, max_new_tokens: int) -> list[list[int]]:
        """One completion of each prompt, up to and with the first stop token."""

    @property
    def stop_ids(self) -> Sequence[int]:
        """Ids of the tokens that end a turn."""

    def room(self, max_new_tokens: int) -> int | None:
        """Longest prompt, in tokens, that leaves room for a completion; None: no limit is known."""


@dataclass(frozen=True)
class Trajectory(Completion):
    """A rollout of several turns. ``text`` is its transcript, ``completion_tokens`` counts the policy's own tokens, and
    ``prompt_tokens`` what was read before each turn, tool results included."""

    messages: tuple[Mapping[str, Any], ...] = ()
    """Answers, with their tool calls, and tool results, as TRL hands them to reward functions."""
    own: tuple[int, ...] = ()
    """For each of ``ids`` 1 if the policy wrote it, 0 if a tool did."""
    prompt: Prompt = ()
    """The bare prompt, with what the environment said."""
    environment: Any = field(default=None, compare=False)
    """Where it took place. It is reset for a later rollout: score this one before more are drawn."""

    @property
    def told(self) -> str:
        """What the environment says at the end: the text of its attribute or property ``feedback``, if it has one."""
        text = getattr(self.environment, "feedback", None)
        return text if isinstance(text, str) else ""


class ToolLoop(GRPOTrainer):
    """TRL's loop of generation, tool calls and their results, without its trainer.

    GRPOTrainer's constructor is not called: only what its methods ``_generate`` and ``_tool_call_loop`` read is set.

    Args:
        policy: draws each turn.
        toolbox: what it may call.
        max_iterations: rounds of tool calls at most; None: no limit.
        tool_timeout: seconds for one call of a tool; 0: none.

    Raises:
        ConfigError: the policy's chat template has no tool calls.
    """

    def __init__(
        self, policy: IdPolicy, toolbox: Toolbox, max_iterations: int | None = None, tool_timeout: float = 0
    ) -> None:
        settings = policy.settings
        self.tool_timeout = tool_timeout
        self.policy, self.toolbox = policy, toolbox
        self.processing_class = self._tokenizer = policy.tokenizer
        self.chat_template = settings.chat_template or chat_template_for_tools(policy.tokenizer)
        self.chat_template_kwargs = dict(settings.chat_template_kwargs)
        self.tools = toolbox.all_tools
        self.environment_factories, self._env_tools = toolbox.factories, toolbox.of_environments
        self.max_tool_calling_iterations = sys.maxsize if max_iterations is None else max_iterations
        self.max_completion_length = settings.max_new_tokens
        self.eos_token_ids = list(policy.stop_ids)
        self.rollout_func, self.use_vllm, self._is_vlm, self.num_generations_eval = None, False, False, 1
        self.limit = policy.room(settings.max_new_tokens)
        context = sys.maxsize if self.limit is None else self.limit + settings.max_new_tokens
        self.model = SimpleNamespace(training=False, config=SimpleNamespace(max_position_embeddings=context))
        self.accelerator = SimpleNamespace(device="cpu", gather=lambda tensor: tensor)
        self.state = SimpleNamespace(num_input_tokens_seen=0)
        if any(inspect.iscoroutinefunction(tool) for tool in self.tools):
            self.async_loop = event_loop()

    def roll_out(self, pairs: Sequence[tuple[str, Mapping[str, Any]]], temperature: float) -> list[Trajectory]:
        """One rollout of each (template, row); the template stands in the prompt, before the first turn."""
        rows = [row for _, row in pairs]
        with isolated_rng(seed_of(self.policy.settings.seed, [(t, str(row.get("prompt"))) for t, row in pairs])):
            return self._roll_out([template for template, _ in pairs], rows, temperature)

    def _roll_out(
        self, templates: Sequence[str], rows: Sequence[Mapping[str, Any]], temperature: float
    ) -> list[Trajectory]:
        toolbox = self.toolbox
        self._batch_environments = toolbox.names(rows)
        environments = toolbox.take(self._batch_environments)
        begun = [
            (row["prompt"], None) if environment is None else toolbox.reset(environment, row)
            for environment, row in zip(environments, rows, strict=True)
        ]
        self._sync_tool_dicts, self._async_tool_dicts = [], []
        for environment in environments:
            tools = guarded_calls({tool.__name__: tool for tool in toolbox.of(environment)}, self.tool_timeout)
            asynchronous = {name for name, tool in tools.items() if inspect.iscoroutinefunction(tool)}
            self._sync_tool_dicts.append({name: t for name, t in tools.items() if name not in asynchronous})
            self._async_tool_dicts.append({name: t for name, t in tools.items() if name in asynchronous})
        self.temperature = temperature
        self._metrics: dict[str, Any] = {"eval": defaultdict(list)}  # TRL's figures; not read
        self.read, self.written, self.fits = [0] * len(rows), [0] * len(rows), [True] * len(rows)
        prompts = [apply_to_prompt(t, prompt) for t, (prompt, _) in zip(templates, begun, strict=True)]
        _, ids, masks, completions, *_ = self._generate(prompts)
        trajectories = []
        for n, (prompt, said) in enumerate(begun):
            if not self.fits[n]:
                trajectories.append(
                    Trajectory("", fits=False, messages=NOTHING, prompt=prompt, environment=environments[n])
                )
                continue
            before = [] if said is None else [{"role": ENVIRONMENT, "content": content_text(said)}]
            trajectories.append(
                Trajectory(
                    transcript([*before, *completions[n]], TRANSCRIPT_CHARS),
                    self.read[n],
                    self.written[n],
                    tuple(ids[n]),
                    calls=calls_in(completions[n]),
                    messages=tuple(completions[n]),
                    own=tuple(masks[n]),
                    prompt=prompt,
                    environment=environments[n],
                )
            )
        return trajectories

    def token_logps(
        self, pairs: Sequence[tuple[str, Mapping[str, Any]]], played: Sequence[Trajectory], temperature: float
    ) -> list[list[float]]:
        """log π(y_t | T(x, z), y_<t) of the policy's own tokens, for a policy with local weights.

        Args:
            pairs: the (template, row) of each trajectory; the template need not be the one it was drawn under.
        """
        self._batch_environments = self.toolbox.names([row for _, row in pairs])
        prompts = [apply_to_prompt(template, p.prompt) for (template, _), p in zip(pairs, played, strict=True)]
        ids = super()._tokenize_prompts(prompts)[0]
        assert isinstance(self.policy, LocalPolicy)
        logps = self.policy.logps_after(ids, [p.ids for p in played], temperature)
        return [
            [logp for logp, own in zip(row, p.own, strict=True) if own] for row, p in zip(logps, played, strict=True)
        ]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        ids, images, fields = super()._tokenize_prompts(prompts)
        self.fits = [self.limit is None or len(row) <= self.limit for row in ids]
        self.prompt_lengths = [len(row) for row in ids]
        return with_rows(ids), images, fields

    def _generate_single_turn(self, prompt_ids: Sequence[RowIds], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        left = [self.max_completion_length - len(ids) + self.prompt_lengths[ids.row] for ids in prompt_ids]
        fitting = [ids for ids in prompt_ids if self.fits[ids.row]]
        drawn = iter(
            self.policy.complete_ids([list(ids) for ids in fitting], self.temperature, max(1, *left)) if fitting else []
        )
        completions = [next(drawn) if self.fits[ids.row] else self.eos_token_ids[:1] for ids in prompt_ids]
        for ids, completion in zip(prompt_ids, completions, strict=True):
            self.read[ids.row] += len(ids)
            self.written[ids.row] += len(completion)
        return completions, None


@cache
def event_loop() -> Any:
    """The event loop of tools that are coroutines, in a thread of its own; one for the process."""
    _, loop, ready = start_event_loop_in_daemon("p2o-tools")
    ready.wait()
    return loop


def chat_template_for_tools(tokenizer: Any) -> str | None:
    """What GRPOTrainer's constructor does for tools: gives the tokenizer a parser of tool calls, unless it has one.

    Returns:
        A chat template to use instead of the tokenizer's, which does not render earlier turns alike; else None.

    Raises:
        ConfigError: the chat template renders no tool calls, or nothing is known about how they are read back.
    """
    if not supports_tool_calling(tokenizer):
        raise ConfigError(
            "the policy's chat template renders no tool calls and results; take a model that was made for tools, or "
            "set chat_template_path to a template that has them"
        )
    known = any(getattr(tokenizer, name, None) is not None for name in ("response_template", "response_schema"))
    try:
        if not known:
            add_response_schema(tokenizer)
        return None if is_chat_template_prefix_preserving(tokenizer) else get_training_chat_template(tokenizer)
    except ValueError as error:
        raise ConfigError(
            f"the policy's chat template is not one that TRL knows with tools ({str(error).splitlines()[0]}); set the "
            "tokenizer's response_template"
        ) from error
