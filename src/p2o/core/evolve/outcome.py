"""From a pipeline that has ended to the result of an evolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .result import Evolution

if TYPE_CHECKING:
    from .pipeline import Pipeline


def outcome_of(pipeline: Pipeline, stopped: str) -> Evolution:
    """All that an evolution found and spent, and what the user should know of it."""
    scorer, pool, warnings = pipeline.scorer, pipeline.front.pool, list(pipeline.warnings)
    cost = scorer.cost
    rollouts_CV = [scorer.known_rollouts(c.template, pipeline.dev) for c in pool]
    place = {c.id: i for i, c in enumerate(pool)}
    if scorer.not_finite:
        warnings.append(f"{scorer.not_finite} rewards were not finite and count as 0.")
    if cost.no_room:
        warnings.append(f"{cost.no_room} of {cost.metric_calls} rollouts had no room for a completion and count as 0.")
    if cost.leaked_scores > cost.metric_calls + cost.reused_scores:
        warnings.append("Most scores were withheld: templates hold the samples' answers (yes and no? single letters?).")
    if cost.reflector_failures and stopped != "reflector":
        warnings.append(f"Of {cost.reflector_calls} reflector calls some failed: {cost.failures()}.")
    for unmeasured, texts in (
        (cost.unmeasured_rollouts, f"{cost.metric_calls} rollouts"),
        (cost.unmeasured_replies, f"{cost.reflector_calls} replies of the reflector"),
    ):
        if unmeasured:
            warnings.append(f"{unmeasured} of {texts} came without a count of their tokens, which is missing.")
    return Evolution(
        candidates=pipeline.candidates,
        templates=[c.template for c in pool],
        parents=[None if c.parent is None else place[c.parent] for c in pool],
        scores_CV=[[r.reward for r in row] for row in rollouts_CV],
        solved_CV=[[r.solved for r in row] for row in rollouts_CV],
        dev_ids=[s.id for s in pipeline.dev],
        train_ids=[s.id for s in pipeline.train],
        budget=scorer.budget,
        cost=cost,
        best_scores=pipeline.best_scores,
        stopped=stopped,
        warnings=warnings,
        near_C=[pipeline.gate.near(c.template, pipeline.dev) for c in pool] if pipeline.config.nearness else [],
    )
