"""The one implementation of the prompt step: roll out, score, reflect, count.

TRL, verl, ``p2o evolve`` and ``p2o screen`` use it.

policy ─► completions ─► scores ─► rollouts ┐
jobs ─► control tokens broken up ─► replies ┴─► counted ─► method.between_epochs
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..core.cost import CostMeter, PhaseCost
from ..core.evolve import EvolveProgress, ReflectionJob, Reflector, Reply
from ..core.evolve.reflector import reported_tokens
from ..core.loop import JointLoop
from ..core.methods import Elsewhere, PromptTools
from ..core.samples import Rollout, RolloutFn, Sample
from ..core.summary import EpochSummary
from ..core.turns import PlayedRollout
from ..reflectors.control_tokens import ControlGuard
from ..reflectors.guard import guard_control_tokens
from ..reflectors.short import short_reflector
from .policies import Completion
from .settings import Prompt

TOO_LONG = "The prompt with this template does not fit into the context."


class Score(Protocol):
    """The score of a rollout (`p2o.rewards.Scored`)."""

    @property
    def reward(self) -> float:
        """The training reward."""

    @property
    def solved(self) -> bool:
        """Whether the named reward reached the success threshold."""

    @property
    def feedback(self) -> str:
        """The text that a reflector reads about it."""


def as_rollout(completion: Completion, score: Score) -> Rollout:
    """A completion with its score. If the prompt did not fit the context, the reward is 0 and ``fits`` is False."""
    if not completion.fits:
        return Rollout("", 0.0, False, TOO_LONG, 0, 0, fits=False)
    rollout = Rollout(
        completion=completion.text,
        reward=score.reward,
        solved=score.solved,
        feedback=score.feedback,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )
    return rollout if completion.calls is None else PlayedRollout(**vars(rollout), calls=completion.calls)


def draw_groups(
    roll_out: RolloutFn, samples: Sequence[Sample], draws: int, templates: Mapping[str, str] | None = None
) -> dict[str, list[Rollout]]:
    """Sample id → its ``draws`` rollouts, bare or under the sample's template. All are generated in one batch."""
    templates = templates or {}
    rollouts = roll_out([(templates.get(s.id, ""), s) for s in samples for _ in range(draws)])
    return {s.id: rollouts[n * draws : (n + 1) * draws] for n, s in enumerate(samples)}


def record_groups(loop: JointLoop, groups: Mapping[str, Sequence[Rollout]]) -> None:
    """Records bare groups of a policy that is not trained in the loop's ledger."""
    threshold = loop.settings.success_threshold
    for sample_id, rollouts in groups.items():
        rewards = [threshold if r.solved else float("-inf") for r in rollouts]
        loop.record(sample_id, rewards, [False] * len(rollouts), [r.reward for r in rollouts])


def policy_reflector(
    complete: Callable[[Sequence[Prompt]], Sequence[Completion]],
    chat: bool = True,
    short: bool = False,
    context: int | None = None,
) -> Reflector:
    """A reflector that asks a policy.

    Args:
        complete: draws one reply to each prompt.
        chat: whether the policy takes chat messages; a base model without a chat template takes plain text.
        short: whether it is asked in few words, as a small model must be (`p2o.reflectors.short`); a chat model alone.
        context: its longest sequence in tokens, if known; an error names it.
    """
    tokens = "" if context is None else f" of {context:,} tokens"
    too_long = f"the model's context{tokens} has no room for the reflector's question and a reply"

    def ask(prompts: Sequence[Prompt]) -> list[Reply]:
        return [
            Reply(c.text, None, c.prompt_tokens, c.completion_tokens)
            if c.fits
            else Reply(None, "prompt_too_long", reason=too_long)
            for c in complete(prompts)
        ]

    if chat and short:
        return short_reflector(ask)
    return lambda jobs: ask([[{"role": "user", "content": job.prompt}] if chat else job.prompt for job in jobs])


def run_prompt_step(loop: JointLoop, tools: PromptTools, cost: CostMeter, on_policy: bool) -> EpochSummary:
    """Closes an epoch of the loop, prepares the next one, and counts the cost of that.

    Args:
        tools: see `counted_tools`, also for ``on_policy``.
        cost: what the tools count in.
    """
    before = {phase: copy.copy(cost[phase]) for phase in ("evolve", "reflect")}
    summary = loop.prompt_step(tools)
    if summary.evolve_cost:
        add_replayed(cost, before, summary.evolve_cost, on_policy)
    return summary


def counted_tools(
    roll_out: RolloutFn,
    reflector: Reflector,
    cost: CostMeter,
    *,
    control: ControlGuard,
    on_policy: bool,
    progress: Callable[[EvolveProgress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    elsewhere: Elsewhere | None = None,
) -> PromptTools:
    """What a method evolves with. Its rollouts and replies are counted.

    Args:
        roll_out: rolls out with the current weights.
        reflector: writes new templates.
        control: finds chat control text of the policy's tokenizer.
        on_policy: the reflector is the policy itself, so its tokens are part of the cost. Otherwise they are a
            teacher's tokens and are counted separately.
        progress: called with the state of an evolution as it proceeds.
        check: called before each batch of rollouts; raises to stop.
        elsewhere: evolves beside the next epoch.
    """
    guarded = guard_control_tokens(reflector, control)

    def counted_rollouts(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        check()
        with cost.timed("evolve") as spent:
            rollouts = roll_out(pairs)
        spent.add_rollouts(rollouts)
        return rollouts

    def counted_replies(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        with cost.timed("reflect") as spent:
            replies = guarded(jobs)
        add_reflection(spent, *reported_tokens(replies), on_policy)
        return replies

    return PromptTools(counted_rollouts, counted_replies, progress, elsewhere)


def add_reflection(spent: PhaseCost, read: int, written: int, unmeasured: int, on_policy: bool) -> None:
    """Counts a reflector's tokens, and the replies whose tokens were not reported."""
    if on_policy:
        spent.add(prompt_tokens=read, generated_tokens=written, unmeasured_texts=unmeasured)
    else:
        spent.add(teacher_tokens=read + written, unmeasured_replies=unmeasured)


def add_replayed(
    cost: CostMeter, before: Mapping[str, PhaseCost], evolution: Mapping[str, Any], on_policy: bool
) -> None:
    """Adds the cost of the rollouts and replies that were made elsewhere: of an evolution beside training all, of a
    resumed one those in its journal. The killed run paid for these; with them a resumed run has the same cost as a run
    that was not interrupted.

    Args:
        before: the counts of the phases "evolve" and "reflect" before the prompt step.
        evolution: all that the evolution spent (`p2o.core.evolve.EvolveCost` as a dict).
    """
    evolve, reflect = cost["evolve"], cost["reflect"]
    made = {name: getattr(evolve, name) - getattr(before["evolve"], name) for name in vars(evolve)}
    evolve.add(
        rollouts=evolution["metric_calls"] - made["rollouts"],
        prompt_tokens=evolution["prompt_tokens"] - made["prompt_tokens"],
        generated_tokens=evolution["completion_tokens"] - made["generated_tokens"],
        scored_tokens=evolution["scored_tokens"] - made["scored_tokens"],
        unmeasured_texts=evolution["unmeasured_rollouts"] - made["unmeasured_texts"],
    )
    asked = {name: getattr(reflect, name) - getattr(before["reflect"], name) for name in vars(reflect)}
    read, written = evolution["reflector_prompt_tokens"], evolution["reflector_completion_tokens"]
    unmeasured = evolution["unmeasured_replies"] - asked["unmeasured_texts"] - asked["unmeasured_replies"]
    if on_policy:
        read, written = read - asked["prompt_tokens"], written - asked["generated_tokens"]
    else:
        read -= asked["teacher_tokens"]
    add_reflection(reflect, read, written, unmeasured, on_policy)
