"""A policy that is not trained, with a recipe's rewards and reflector around it: for ``p2o eval``, ``evolve`` and
``screen``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..base.terminal import console
from ..core.cost import CostMeter
from ..core.evolve import EvolveProgress, Reflector
from ..core.loop import JointLoop
from ..core.samples import Rollout, RolloutFn, Sample
from ..core.solutions import solution_of
from ..core.summary import EpochSummary
from ..data import row_of
from ..errors import ConfigError
from ..generation.local import LocalPolicy, ModelSource, load_policy
from ..generation.policies import Completion, EndpointPolicy, Policy, prompt_of
from ..generation.prompt_step import (
    as_rollout,
    counted_tools,
    draw_groups,
    policy_reflector,
    record_groups,
    run_prompt_step,
)
from ..generation.settings import GenerationSettings, context_length
from ..generation.size import asks_short, reflecting_temperature
from ..generation.tool_loop import ToolLoop, Trajectory
from ..generation.toolbox import Toolbox
from ..generation.tools import guarded_factories
from ..generation.worth import Asked, weigher
from ..reflectors.building import build_reflector
from ..reflectors.control_tokens import ControlGuard
from ..rewards import RewardSet
from ..rewards.score import Scored
from .building import agent_arguments, quantization_of
from .machine import check_model_folder, missing_packages
from .recipe import Recipe


@dataclass(frozen=True)
class FixedPolicy:
    """A policy with a recipe's rewards, reflector and settings."""

    recipe: Recipe
    policy: Policy
    rewards: RewardSet
    loop: ToolLoop | None = None
    """Plays the turns of a recipe with tools."""

    def roll_out(self, temperature: float) -> RolloutFn:
        """Rolls out (template, sample) pairs, and scores them."""

        def roll_out(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
            return [as_rollout(completion, score) for completion, score in self.scored(pairs, temperature)]

        return roll_out

    def scored(self, pairs: Sequence[tuple[str, Sample]], temperature: float) -> list[tuple[Completion, Scored]]:
        """One completion of each (template, sample) pair, with its score."""
        if self.loop is None:
            completions = self.policy.complete([prompt_of(sample, template) for template, sample in pairs], temperature)
            scores = self.rewards.score([c.text for c in completions], [sample for _, sample in pairs])
            return list(zip(completions, scores, strict=True))
        size = self.recipe.training.evolve_batch_size
        batches = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        return [one for batch in batches for one in self._played(self.loop, batch, temperature)]

    def _played(
        self, loop: ToolLoop, pairs: Sequence[tuple[str, Sample]], temperature: float
    ) -> list[tuple[Completion, Scored]]:
        """A batch with tools; it is scored before its environments are used again."""
        played = loop.roll_out([(template, row_of(sample)) for template, sample in pairs], temperature)
        scores = self.rewards.score(
            [p.messages for p in played], [s for _, s in pairs], environments=[p.environment for p in played]
        )
        return [(p, replace(s, feedback=f"{s.feedback} {p.told}".strip())) for p, s in zip(played, scores, strict=True)]

    def token_logps(
        self, pairs: Sequence[tuple[str, Sample]], completions: Sequence[Completion], temperature: float
    ) -> list[list[float]]:
        """log π(y_t | T(x, z), y_<t) of the policy's own tokens in given completions, of a local policy.

        Args:
            pairs: a (template, sample) pair for each completion; the template need not be the one it was drawn under.
        """
        assert self.local is not None
        if self.loop is not None:
            played = [c for c in completions if isinstance(c, Trajectory)]
            return self.loop.token_logps([(t, row_of(s)) for t, s in pairs], played, temperature)
        prompts = [prompt_of(sample, template) for template, sample in pairs]
        return self.local.token_logps(prompts, [c.ids for c in completions], temperature)

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
        """The prompt step of training on bare groups that were drawn; also where GRPO would get on alone."""
        loop.settings.evolve_when = "hard"
        roll_out = self.evolving()
        record_groups(loop, groups)
        reflector = build_reflector(self.recipe.task)
        on_policy = isinstance(reflector, str)
        tools = counted_tools(
            roll_out,
            self.own_reflector() if isinstance(reflector, str) else reflector,
            cost,
            control=ControlGuard(getattr(self.policy, "tokenizer", None)),
            on_policy=on_policy,
            progress=progress,
        )
        return run_prompt_step(loop, tools, cost, on_policy)

    def own_reflector(self) -> Reflector:
        """The policy as reflector."""
        training = self.recipe.training
        short = asks_short(training.reflect_prompt, self.local and self.local.model)
        temperature = reflecting_temperature(training.reflect_temperature, short)
        return policy_reflector(
            lambda prompts: self.policy.complete(prompts, temperature, training.reflect_max_tokens),
            short=short,
            context=context_length(self.local.model.config) if self.local else None,
        )

    def evolving(self, temperature: float | None = None) -> RolloutFn:
        """Rolls out for an evolution: a reward is what ``template_worth`` says.

        Args:
            temperature: ``evolve_temperature`` by default.

        Raises:
            ConfigError: it needs log-probs that the policy cannot give.
        """
        training, local = self.recipe.training, self.local
        drawn_at = training.evolve_temperature if temperature is None else temperature
        if training.template_worth == "success":
            return self.roll_out(drawn_at)
        if local is None or self.loop is not None:
            why = "the log-probs of a served policy" if local is None else "those of conversations with tools"
            raise ConfigError(
                f"template_worth: {training.template_worth} needs log-probs, and {why} cannot be had; set "
                "template_worth to success"
            )
        weigh = weigher(local, training)

        def roll_out(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
            drawn = self.scored(pairs, drawn_at)
            return weigh(
                [Asked(template, sample.prompt, solution_of(sample)) for template, sample in pairs],
                [completion for completion, _ in drawn],
                [as_rollout(completion, score) for completion, score in drawn],
            )

        return roll_out

    @property
    def local(self) -> LocalPolicy | None:
        """The policy, if its weights are here."""
        return self.policy if isinstance(self.policy, LocalPolicy) else None


def fixed_policy(recipe: Recipe, model: str, rewards: RewardSet) -> FixedPolicy:
    """A model with a recipe's settings: served, if the recipe names an endpoint, else loaded as training loads it."""
    settings, task = GenerationSettings.of(recipe.training), recipe.task
    agent = agent_arguments(recipe)
    if task.policy_base_url:
        if agent:
            raise ConfigError(
                f"policy_base_url: a served policy answers in one turn, and the recipe {recipe.name} names "
                f"{' and '.join('tools' if name == 'tools' else 'an environment' for name in agent)}; give the model "
                "by its folder or hub name"
            )
        served = EndpointPolicy(model, task.policy_base_url, settings, timeout=task.policy_timeout)
        return FixedPolicy(recipe, served, rewards)
    for sentence in missing_packages(recipe):
        raise ConfigError(sentence)
    check_model_folder(model)
    policy = load_policy(model_source(recipe, model), settings)
    if not agent:
        return FixedPolicy(recipe, policy, rewards)
    training, given = recipe.training, agent.get("environment_factory")
    factories = guarded_factories(given, training.tool_timeout, training.reward_timeout)
    toolbox = Toolbox(agent.get("tools"), factories)
    loop = ToolLoop(policy, toolbox, training.max_tool_calling_iterations, training.tool_timeout)
    return FixedPolicy(recipe, policy, rewards, loop)


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
