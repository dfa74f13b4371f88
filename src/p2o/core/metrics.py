"""Figures of one step's groups, for the trackers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .cost import CostMeter
from .turns import Calls, call_shares

if TYPE_CHECKING:
    from .evolve import Evolution
    from .samples import Rollout
    from .summary import EpochSummary
    from .templates import PoolTemplate


@dataclass(frozen=True)
class Group:
    """The K rollouts of one sample: which were drawn under a template, which were solved."""

    sample_id: str
    templated: Sequence[bool]
    solved: Sequence[bool]
    spread: bool
    """Whether the rewards that GRPO trains on differ."""
    rewards: Sequence[float] = ()
    """The rewards that GRPO trains on; empty: not given."""

    @property
    def flat(self) -> bool:
        """Whether it has no spread, and is all solved or all failed."""
        return not self.spread and any(self.solved) == all(self.solved)

    def under(self, templated: bool) -> list[bool]:
        """``solved`` of the templated rollouts, or of the bare ones."""
        return [s for s, t in zip(self.solved, self.templated, strict=True) if t == templated]


def group_metrics(groups: Sequence[Group], needed: Collection[str], tau: int) -> dict[str, float]:
    """Shares of the groups of one generation batch, and success rates of its rollouts.

    Args:
        needed: samples that have, or had, templates.
        tau: a group is hard with fewer successes than this.
    """
    bare = [g.under(False) for g in groups]
    templated = [g.under(True) for g in groups]
    graduated = [any(b) for g, b in zip(groups, bare, strict=True) if g.sample_id in needed]
    both = [(b, t) for b, t in zip(bare, templated, strict=True) if b and t]
    earned = [(r, t) for g in groups for r, t in zip(g.rewards, g.templated, strict=bool(g.rewards))]
    rates = {
        "bare_reward": _mean([r for r, t in earned if not t]),
        "templated_reward": _mean([r for r, t in earned if t]),
        "bare_success": _mean([s for b in bare for s in b]),
        "templated_success": _mean([s for t in templated for s in t]),
        # The same samples bare and templated: the difference is what the template adds.
        "paired_bare_success": _mean([s for b, _ in both for s in b]),
        "paired_templated_success": _mean([s for _, t in both for s in t]),
    }
    return {
        "p2o/all_failed": _share([not any(g.solved) for g in groups]),
        "p2o/all_solved": _share([all(g.solved) for g in groups]),
        "p2o/no_spread": _share([not g.spread for g in groups]),
        "p2o/hard_groups": _share([sum(g.solved) < tau for g in groups]),
        "p2o/rescued_groups": _share([any(t) for t in templated]),
        "p2o/graduated_groups": sum(graduated) / len(groups),
        "p2o/templated": _share([t for g in groups for t in g.templated]),
        **{f"p2o/{name}": rate for name, rate in rates.items() if rate is not None},
    }


def evaluation_metrics(rollouts: Sequence[Rollout], groups: Sequence[str] | None, prefix: str) -> dict[str, float]:
    """Means over bare rollouts of held-out samples. Prompts that leave no room for a completion are left out; their
    share is given as ``{prefix}_no_room``. At least one prompt must leave room.

    Args:
        groups: the group that each rollout's sample belongs to; bare success is given for each of them too.
        prefix: begins the names of the figures, such as "eval".
    """
    by_group: dict[str, list[bool]] = {}
    for group, rollout in zip(groups or (), rollouts, strict=groups is not None):
        if rollout.fits:
            by_group.setdefault(group, []).append(rollout.solved)
    fitting = [r for r in rollouts if r.fits]
    count = len(fitting)
    lengths = [r.completion_tokens for r in fitting if r.completion_tokens is not None]
    figures = {
        f"{prefix}_bare_success": sum(r.solved for r in fitting) / count,
        f"{prefix}_reward": sum(r.reward for r in fitting) / count,
        **({f"{prefix}_completion_length": sum(lengths) / len(lengths)} if lengths else {}),
        **{f"{prefix}_bare_success_{group}": sum(solved) / len(solved) for group, solved in sorted(by_group.items())},
    }
    return figures if count == len(rollouts) else {**figures, f"{prefix}_no_room": 1 - count / len(rollouts)}


def note_evolution(summary: EpochSummary, evolution: Evolution, pool: Sequence[PoolTemplate]) -> None:
    """Adds an evolution's figures to the summary of its epoch."""
    summary.evolved = True
    summary.candidates, summary.iterations = len(evolution.candidates), len(evolution.best_scores) - 1
    summary.accepted = evolution.fates.get("accepted", 0)
    summary.helping = sum(
        bool(text) and any(row) for text, row in zip(evolution.templates, evolution.solved_CV, strict=True)
    )
    summary.pool, summary.dev_size = len(pool), len(evolution.dev_ids)
    if all(t.scored for t in pool):
        summary.covered = len(frozenset().union(*(t.solves for t in pool)))
    summary.evolve_cost = asdict(evolution.cost)
    summary.notes += evolution.warnings
    best = max((t for t in pool if t.text), key=lambda t: t.weight, default=None)
    if best is None:
        summary.notes.append("no template solved a hard sample: the hard samples stay bare in the next epoch")
    elif best.scored:
        summary.best_template, summary.best_dev_score = best.text, best.weight
        if not summary.covered:
            summary.notes.append("no template solved a hard sample; the one that makes solutions likeliest is kept")


def epoch_metrics(summary: EpochSummary) -> dict[str, float]:
    """Figures of an epoch and of the prompt step after it. Counts are numbers of samples."""
    figures = {
        "hard": summary.hard,
        "no_spread_samples": summary.no_spread,
        "all_failed_samples": summary.all_failed,
        "all_solved_samples": summary.all_solved,
        "rescued": summary.rescued,
        "graduated": summary.graduated,
        "forgotten": summary.forgotten,
        "templated_next": summary.templated_next,
        "returned": summary.returned,
        "epoch_bare_success": summary.bare_success,
        "epoch_templated_success": summary.templated_success,
        "epoch_paired_bare_success": summary.paired_bare_success,
        "epoch_paired_templated_success": summary.paired_templated_success,
    }
    if summary.evolved:
        figures |= {
            "pool": summary.pool,
            "candidates": summary.candidates,
            "candidates_per_iteration": summary.candidates / max(1, summary.iterations),
            "accepted": summary.accepted,
            "best_dev_score": summary.best_dev_score,
        }
    return {f"p2o/{name}": float(value) for name, value in figures.items() if value is not None}


def cost_metrics(cost: CostMeter) -> dict[str, float]:
    """What the run has cost so far, in forward-equivalent tokens by phase, and in rollouts."""
    phases = {f"p2o/cost/{name}": float(phase.cost) for name, phase in cost.phases.items()}
    return {"p2o/cost": float(cost.training_cost), **phases, "p2o/cost/rollouts": float(cost.training_rollouts)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def call_metrics(rollouts: Sequence[tuple[bool, Calls]]) -> dict[str, float]:
    """Tool calls of a batch of all ranks, of bare and of templated rollouts; only of those that there are.

    Args:
        rollouts: (templated, calls) of each rollout.

    Returns:
        ``p2o/tool_calls/…``, the mean of a rollout, and ``p2o/tool_failures/…``, the share of the calls that failed.
    """
    figures: dict[str, float | None] = {}
    for name, which in (("bare", False), ("templated", True)):
        count, failed = call_shares([c for templated, c in rollouts if templated == which])
        figures |= {f"p2o/tool_calls/{name}": count, f"p2o/tool_failures/{name}": failed}
    return {name: figure for name, figure in figures.items() if figure is not None}
