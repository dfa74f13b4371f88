"""Multiplies rewards by what carries over to the bare prompt (`p2o.core.transfer`), in one scoring pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.samples import Rollout
from ..core.templates import apply_to_prompt
from ..core.transfer import carry_over
from .local import LocalPolicy
from .policies import Completion
from .settings import Prompt, prompt_ids


def weigh_by_carry_over(
    policy: LocalPolicy,
    pairs: Sequence[tuple[str, Prompt]],
    completions: Sequence[Completion],
    rollouts: Sequence[Rollout],
    temperature: float,
    low: float,
) -> list[Rollout]:
    """The rollouts, those that earned something under a template with their reward multiplied by its weight.

    Args:
        pairs: the template and the bare prompt of each.
        completions: what was drawn.
        temperature: of training, for the log-probs.
        low: ``ratio_low``.
    """
    weighed = list(rollouts)
    places = [n for n, (template, _) in enumerate(pairs) if template.strip() and rollouts[n].reward > 0]
    if not places:
        return weighed
    prompts = [pairs[n][1] for n in places] + [apply_to_prompt(*pairs[n]) for n in places]
    ids = prompt_ids(policy.tokenizer, prompts, policy.settings)
    drawn = [completions[n].ids for n in places]
    logps = policy.logps_after(ids, drawn * 2, temperature)
    count = len(places)
    for k, n in enumerate(places):
        weight = carry_over(logps[k], logps[count + k], low)
        scored = len(ids[k]) + len(ids[count + k]) + 2 * len(drawn[k])
        weighed[n] = replace(rollouts[n], reward=rollouts[n].reward * weight, scored_tokens=scored)
    return weighed
