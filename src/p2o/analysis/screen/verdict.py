"""The screen's plain verdict, with the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ...base.terminal import percent
from ...runs.estimate import Projection
from ..evaluation import TemplateEffect
from .measure import LEAST_HARD, Masked, Screen

Worth = Literal["worth it", "not worth it", "not clear"]

LEAST_GAP = 0.05
"""A smaller gain under templates is not worth an evolution."""
MASKED = 0.2
"""If less of the gain passes the ratio mask, it cannot be distilled."""
PASSING = 0.4
"""If as much passes, it can."""
FAILING = 0.5
"""A reflector that fails more often says nothing about prompts."""


@dataclass(frozen=True)
class ScreenVerdict:
    """The verdict, why, and the figures behind it."""

    worth: Worth
    reason: str
    """One sentence."""
    numbers: list[str] = field(default_factory=list)
    """What was measured, a line each."""


def judge_screen(s: Screen) -> ScreenVerdict:
    """Judges a screen. Thresholds are this module's constants."""
    worth, reason = _judge(s)
    return ScreenVerdict(worth, reason, _numbers(s))


def _judge(s: Screen) -> tuple[Worth, str]:
    expected = s.hard.share * s.total
    if s.hard.interval[1] * s.total < s.hard_min_count or s.hard.count < LEAST_HARD:
        return "not worth it", f"too few hard samples: about {expected:.0f} of {s.total}"
    if s.reflector_failures is None:
        return (
            "not clear",
            "the reflector was never asked, so nothing is known about prompts; screen again with more --samples",
        )
    if s.reflector_failures > FAILING:
        failed = percent(s.reflector_failures)
        return "not clear", f"the reflector failed at {failed}: fix it or take another one, and screen again"
    if not s.pool:
        return "not worth it", "prompts do not help: no template solved a hard sample"
    if s.gap is None:
        return "not clear", "no prompt with a template leaves room for a completion; lower max_completion_length"
    low, high = s.gap.interval
    if high < LEAST_GAP:
        return "not worth it", f"prompts do not help: {_points(s.gap.difference)} on held-out samples"
    if s.masked is not None and s.masked.gain_passing < MASKED:
        return "not worth it", "the gain is masked: its tokens get no gradient from the bare prompt"
    if low < LEAST_GAP:
        return "not clear", (
            f"the gain of {_points(s.gap.difference)} is not sure: it lies between {_points(low)} and {_points(high)}"
        )
    if s.masked is None:
        return "not clear", "prompts help, but a served policy cannot say what passes the ratio mask"
    if s.masked.gain_passing < PASSING:
        return "not clear", f"prompts help, but only {percent(s.masked.gain_passing)} passes the mask"
    return "worth it", f"{_points(s.gap.difference)} on held-out hard samples, most of it distillable"


def _numbers(s: Screen) -> list[str]:
    hard = f"hard: {percent(s.hard.share)} of the samples {_span(s.hard.interval)}, of {s.total} in all"
    lines = [f"{hard}; hard_min_count is {s.hard_min_count}"]
    if s.evolution:
        lines += [*_evolution(s), _gap(s.gap), _mask(s.masked)]
    else:
        lines.append(f"evolution: not tried, it needs {LEAST_HARD} hard samples in the screen")
    if s.projection is not None:
        lines.append(_cost(s.projection))
        if s.gap is None:
            lines.append("these costs take the bare lengths for templated rollouts, which were not measured")
    return lines


def _evolution(s: Screen) -> list[str]:
    best = s.evolution["best_dev_scores"][-1]
    failures = s.reflector_failures
    return [
        f"evolution: {s.evolution['candidates']} candidates in {s.evolution['rollouts']} rollouts, best dev score "
        f"{percent(best)}, {len(s.pool)} templates in the pool",
        "reflector: never asked"
        if failures is None
        else f"reflector: {percent(failures)} of its replies were no usable template",
    ]


def _gap(gap: TemplateEffect | None) -> str:
    if gap is None:
        return "held-out hard samples: not measured under templates"
    return (
        f"held-out hard samples: bare {percent(gap.bare)}, templated {percent(gap.templated)}, gap "
        f"{_points(gap.difference)} {_span(gap.interval)} on {gap.samples} samples"
    )


def _mask(masked: Masked | None) -> str:
    if masked is None:
        return "ratio mask: not measured, no log-probs of a solved templated rollout"
    return (
        f"ratio mask: drops {percent(masked.tokens_below + masked.tokens_above)} of the tokens of {masked.rollouts} "
        f"solved templated rollouts; {percent(masked.clean_rollouts)} of the rollouts keep every token that the bare "
        f"prompt makes less likely; {percent(masked.passing)} of the missing log-probability is on trained tokens"
    )


def _cost(p: Projection) -> str:
    return (
        f"cost of {p.epochs:g} epochs: {p.p2o_rollouts:,.0f} rollouts ({100 * p.extra_rollouts:+.0f} % over GRPO's "
        f"{p.grpo_rollouts:,.0f}), at most {p.p2o_cost:.3g} forward-equivalent tokens "
        f"({100 * p.extra_cost:+.0f} % over GRPO's {p.grpo_cost:.3g}, which trains {percent(p.live)} of its groups)"
    )


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _span(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
