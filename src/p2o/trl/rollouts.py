"""Rollouts and reflection between training steps, on all processes together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..core.samples import Rollout
from ..core.solutions import solution_in
from ..core.templates import apply_to_prompt
from ..errors import ConfigError
from ..generation.efficient import efficient
from ..generation.policies import Completion, Policy
from ..generation.prompt_step import Score, as_rollout
from ..generation.settings import Prompt, sampling_options
from ..generation.tool_loop import ToolLoop, Trajectory
from ..generation.worth import Asked, Weigh
from .ranks import gather_shared, share

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RollOut:
    """A request of rank 0 (`ranks.RankDriver`): roll out (template, sample id) pairs."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reflect:
    """A request of rank 0: reply to prompts."""

    prompts: Sequence[Prompt]


@dataclass(frozen=True)
class RowScore:
    """The score of a completion (`p2o.generation.prompt_step.Score`)."""

    reward: float
    solved: bool
    feedback: str


def as_trl_has_it(row: Row, completion: Completion) -> tuple[Any, Any]:
    """(prompt, completion) as TRL hands them to a reward function."""
    if isinstance(completion, Trajectory):
        return completion.prompt, list(completion.messages)
    prompt = row["prompt"]
    return prompt, completion.text if isinstance(prompt, str) else [{"role": "assistant", "content": completion.text}]


class SharedRollouts:
    """Rolls out on all processes together: each does a share, and all get all results (collective).

    Args:
        accelerator: accelerate's.
        score: scores this rank's (row, completion) pairs; collective.
    """

    def __init__(
        self, accelerator: Any, score: Callable[[Sequence[Row], Sequence[Completion]], Sequence[Score]]
    ) -> None:
        self.accelerator, self.score = accelerator, score

    def roll_out(
        self, policy: Policy, pairs: Sequence[tuple[str, Row]], temperature: float, weigh: Weigh | None = None
    ) -> list[Rollout]:
        """One scored completion of each (template, row).

        Args:
            weigh: changes this rank's rewards (``template_worth``).
        """
        mine = share(pairs, self.accelerator)
        own = [pairs[i] for i in mine]
        completions = policy.complete([apply_to_prompt(t, row["prompt"]) for t, row in own], temperature)
        scores = self.score([row for _, row in own], completions)
        rollouts = [as_rollout(c, s) for c, s in zip(completions, scores, strict=True)]
        if weigh is not None:
            asked = [Asked(t, row["prompt"], solution_in(row)) for t, row in own]
            rollouts = weigh(asked, completions, rollouts)
        return gather_shared(mine, rollouts, len(pairs))

    def roll_out_turns(
        self, loop: ToolLoop, pairs: Sequence[tuple[str, Row]], temperature: float, batch_size: int
    ) -> list[Rollout]:
        """Like `roll_out`, with tools. A batch is scored before its environments are used again."""
        mine = share(pairs, self.accelerator)
        rollouts = []
        for start in range(0, len(mine), batch_size):
            own = [pairs[i] for i in mine[start : start + batch_size]]
            trajectories = loop.roll_out(own, temperature)
            scores = self.score([row for _, row in own], trajectories)
            rollouts += [as_rollout(t, s) for t, s in zip(trajectories, scores, strict=True)]
        return gather_shared(mine, rollouts, len(pairs))

    def complete(
        self, policy: Policy, prompts: Sequence[Prompt], temperature: float, max_new_tokens: int
    ) -> list[Completion]:
        """One completion of each prompt."""
        mine = share(prompts, self.accelerator)
        completions = policy.complete([prompts[i] for i in mine], temperature, max_new_tokens)
        return gather_shared(mine, completions, len(prompts))


def draw_efficiently(
    model: Any, prompt_ids: list[list[int]], generate: Callable[[list[list[int]]], list[list[int]]]
) -> tuple[list[list[int]], list[list[float]]]:
    """A training batch's completions, and the log-probs of their tokens, recorded as they were sampled.

    Args:
        generate: TRL's generation, which calls ``model.generate``; where it does not, nothing is recorded.
    """
    with efficient(model) as drawn:
        completions = generate(prompt_ids)
    rows = drawn[-1].logps.tolist() if drawn else [[]] * len(completions)
    return completions, [row[: len(ids)] for ids, row in zip(completions, rows, strict=True)]


@contextmanager
def starting_model(model: Any, source: str, device: Any, trust_remote_code: bool) -> Iterator[Any]:
    """The frozen starting policy: it is loaded again from the model's source, and freed afterwards.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    try:
        loaded = AutoModelForCausalLM.from_pretrained(source, dtype=model.dtype, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"reflector 'self' cannot load the starting policy again from {source!r}; pass the model by name or "
            "path, or choose another reflector"
        ) from error
    loaded = loaded.to(device).eval()
    loaded.generation_config = copy.deepcopy(model.generation_config)
    try:
        yield loaded
    finally:
        del loaded
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def engine_sampling(engine: Any, temperature: float, max_new_tokens: int) -> Iterator[None]:
    """Sets other sampling settings than the training's in TRL's vLLM engine, and restores them afterwards."""
    saved = engine.temperature, engine.max_completion_length
    engine.temperature, engine.max_completion_length = temperature, max_new_tokens
    try:
        yield
    finally:
        engine.temperature, engine.max_completion_length = saved


@contextmanager
def transformers_sampling(trainer_settings: Any, temperature: float, max_new_tokens: int) -> Iterator[None]:
    """Sets other sampling settings than the training's in TRL's transformers generation, and restores them afterwards.

    Args:
        trainer_settings: the object with TRL's ``generation_config`` and ``generation_kwargs``.
    """
    saved = trainer_settings.generation_config, trainer_settings.generation_kwargs
    changes = sampling_options(temperature, max_new_tokens)
    trainer_settings.generation_config = copy.deepcopy(saved[0])
    trainer_settings.generation_config.update(**changes)
    trainer_settings.generation_kwargs = {**saved[1], **changes}
    try:
        yield
    finally:
        trainer_settings.generation_config, trainer_settings.generation_kwargs = saved
