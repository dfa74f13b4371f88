"""What an evolution's rollouts are worth, by one scoring pass (``template_worth``: `p2o.core.transfer`,
`p2o.core.nearness`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ..core.nearness import nearness
from ..core.samples import Rollout
from ..core.templates import apply_to_prompt
from ..core.transfer import carry_over
from .local import LocalPolicy
from .policies import Completion
from .settings import QUIET, Prompt, prompt_ids


class Asked(NamedTuple):
    """What a rollout was drawn from."""

    template: str
    prompt: Prompt
    """The bare prompt."""
    solution: str
    """The sample's solution; "" without one."""


Weigh = Callable[[Sequence[Asked], Sequence[Completion], Sequence[Rollout]], list[Rollout]]
"""(what was asked, completions, rollouts) → the rollouts with what counts in an evolution."""


def weigher(policy: LocalPolicy, training: Any) -> Weigh:
    """What ``template_worth`` asks for where it is not ``success``, which needs no scoring.

    Args:
        training: the run's `P2OConfig`.
    """
    if training.template_worth == "transfer":
        return partial(weigh_by_carry_over, policy, temperature=training.temperature, low=training.ratio_low)
    longest = training.max_completion_length
    return partial(measure_nearness, policy, temperature=training.temperature, longest=longest)


def weigh_by_carry_over(
    policy: LocalPolicy,
    asked: Sequence[Asked],
    completions: Sequence[Completion],
    rollouts: Sequence[Rollout],
    temperature: float,
    low: float,
) -> list[Rollout]:
    """The rollouts, those that earned something under a template with their reward multiplied by its weight.

    Args:
        temperature: of training, for the log-probs.
        low: ``ratio_low``.
    """
    weighed = list(rollouts)
    places = [n for n, one in enumerate(asked) if one.template.strip() and rollouts[n].reward > 0]
    if not places:
        return weighed
    prompts = [asked[n].prompt for n in places]
    prompts += [apply_to_prompt(asked[n].template, asked[n].prompt) for n in places]
    ids = prompt_ids(policy.tokenizer, prompts, policy.settings)
    drawn = [completions[n].ids for n in places]
    logps = policy.logps_after(ids, drawn * 2, temperature)
    count = len(places)
    for k, n in enumerate(places):
        weight = carry_over(logps[k], logps[count + k], low)
        scored = len(ids[k]) + len(ids[count + k]) + 2 * len(drawn[k])
        weighed[n] = replace(rollouts[n], reward=rollouts[n].reward * weight, scored_tokens=scored)
    return weighed


def measure_nearness(
    policy: LocalPolicy,
    asked: Sequence[Asked],
    completions: Sequence[Completion],
    rollouts: Sequence[Rollout],
    temperature: float,
    longest: int,
) -> list[Rollout]:
    """The rollouts, failed ones of samples with a solution with their `nearness`.

    Args:
        temperature: of training, for the log-probs.
        longest: tokens of a solution that are scored at most.
    """
    weighed = list(rollouts)
    places = [n for n, one in enumerate(asked) if one.solution and rollouts[n].fits and not rollouts[n].solved]
    if not places:
        return weighed
    prompts = [apply_to_prompt(asked[n].template, asked[n].prompt) for n in places]
    ids = prompt_ids(policy.tokenizer, prompts, policy.settings)
    texts = policy.tokenizer([asked[n].solution for n in places], add_special_tokens=False, **QUIET)["input_ids"]
    solutions = [text[:longest] for text in texts]
    for k, (n, logps) in enumerate(zip(places, policy.logps_after(ids, solutions, temperature), strict=True)):
        scored = len(ids[k]) + len(solutions[k])
        weighed[n] = replace(rollouts[n], near=nearness(logps), scored_tokens=scored)
    return weighed
