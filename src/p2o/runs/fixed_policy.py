"""A policy that is not trained, with a recipe's rewards and reflector around it: for ``p2o eval``, ``evolve`` and
``screen``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.terminal import console
from ..core.cost import CostMeter
from ..core.evolve import EvolveProgress
from ..core.loop import JointLoop
from ..core.samples import Rollout, RolloutFn, Sample
from ..core.summary import EpochSummary
from ..errors import ConfigError
from ..generation.local import LocalPolicy, ModelSource, load_policy
from ..generation.policies import Completion, EndpointPolicy, Policy
from ..generation.prompt_step import (
    Score,
    draw_groups,
    policy_reflector,
    record_groups,
    rollout_fn,
    run_prompt_step,
)
from ..generation.settings import GenerationSettings
from ..reflectors.building import build_reflector
from ..reflectors.control_tokens import ControlGuard
from ..rewards import RewardSet
from .building import quantization_of
from .machine import check_model_folder, missing_packages
from .recipe import Recipe


@dataclass(frozen=True)
class FixedPolicy:
    """A policy with a recipe's rewards, reflector and settings."""

    recipe: Recipe
    policy: Policy
    rewards: RewardSet

    def roll_out(self, temperature: float) -> RolloutFn:
        """Rolls out (template, sample) pairs, and scores them."""

        def score(samples: Sequence[Sample], completions: Sequence[Completion]) -> Sequence[Score]:
            return self.rewards.score([c.text for c in completions], samples)

        return rollout_fn(self.policy, score, temperature)

    def draw(self, samples: Sequence[Sample], draws: int, cost: CostMeter | None = None) -> dict[str, list[Rollout]]:
        """Bare groups at the training temperature, of the samples whose prompts leave room for a completion.

        Raises:
            ConfigError: none does.
        """
        cost = cost or CostMeter()
        with cost.timed("rollout") as spent:
            groups = draw_groups(self.roll_out(self.recipe.training.temperature), samples, draws)
        spent.add_rollouts([r for group in groups.values() for r in group])
        fitting = {i: group for i, group in groups.items() if all(r.fits for r in group)}
        if not fitting:
            raise ConfigError(
                f"no prompt leaves room for max_completion_length {self.recipe.training.max_completion_length} in the "
                "model's context; lower it, or shorten the prompts"
            )
        if len(fitting) < len(groups):
            console.print(
                f"{len(groups) - len(fitting)} of {len(groups)} prompts leave no room for a completion; left out"
            )
        return fitting

    def prompt_step(
        self,
        loop: JointLoop,
        groups: dict[str, list[Rollout]],
        cost: CostMeter,
        progress: Callable[[EvolveProgress], None],
    ) -> EpochSummary:
        """The prompt step of training on bare groups that were drawn."""
        record_groups(loop, groups)
        training, reflector = self.recipe.training, build_reflector(self.recipe.task)
        on_policy = isinstance(reflector, str)
        if isinstance(reflector, str):
            reflector = policy_reflector(
                lambda prompts: self.policy.complete(prompts, training.reflect_temperature, training.reflect_max_tokens)
            )
        return run_prompt_step(
            loop,
            self.roll_out(training.evolve_temperature),
            reflector,
            cost,
            control=ControlGuard(getattr(self.policy, "tokenizer", None)),
            on_policy=on_policy,
            progress=progress,
        )

    @property
    def local(self) -> LocalPolicy | None:
        """The policy, if its weights are here."""
        return self.policy if isinstance(self.policy, LocalPolicy) else None


def fixed_policy(recipe: Recipe, model: str, rewards: RewardSet) -> FixedPolicy:
    """A model with a recipe's settings: served, if the recipe names an endpoint, else loaded as training loads it."""
    settings, task = GenerationSettings.of(recipe.training), recipe.task
    if task.policy_base_url:
        served = EndpointPolicy(model, task.policy_base_url, settings, timeout=task.policy_timeout)
        return FixedPolicy(recipe, served, rewards)
    for sentence in missing_packages(recipe):
        raise ConfigError(sentence)
    check_model_folder(model)
    return FixedPolicy(recipe, load_policy(model_source(recipe, model), settings), rewards)


def model_source(recipe: Recipe, model: str) -> ModelSource:
    """Where a model comes from, by a recipe's keys; its revision holds for the recipe's own model alone."""
    own: Any = recipe.model
    more = dict(recipe.training.model_init_kwargs or {})
    quantization = quantization_of(own)
    return ModelSource(
        name=model,
        revision=own.model_revision if model == own.model_name_or_path else None,
        dtype=own.dtype,
        trust_remote_code=recipe.training.trust_remote_code,
        attn_implementation=own.attn_implementation,
        chat_template_path=recipe.training.chat_template_path,
        bf16=bool(recipe.training.bf16),
        more=more if quantization is None else {**more, "quantization_config": quantization},
    )
