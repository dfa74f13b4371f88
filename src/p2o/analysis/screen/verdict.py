"""The screen's plain verdict, with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...base.terminal import percent
from ...base.text import counted
from ...core.progress import short
from ...runs.estimate import Projection
from ..evaluation import TemplateEffect
from .measure import LEAST_HARD, Screen
from .reach import Reaches

Worth = Literal["worth it", "not worth it", "not clear"]

LEAST_GAP = 0.05
"""A smaller gain under templates is not worth an evolution."""
REACHED = 0.4
"""If less of the gain is reached by every way of distillation, it is not clear that any of it can be distilled."""
MORE = 4
"""How much larger the next screen's budget is, where none of its templates helped."""
FAILING = 0.5
"""A reflector that fails more often says nothing about prompts."""
TRAINED = "the templated success can be trained into the bare prompt"
"""How a reach is said."""
LONG_ENOUGH = "if the run is long enough"


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
        return _nothing_found(s.evolution)
    if s.gap is None:
        return "not clear", "no prompt with a template leaves room for a completion; lower max_completion_length"
    low, high = s.gap.interval
    if high < LEAST_GAP:
        return "not worth it", f"prompts do not help: {_points(s.gap.difference)} on held-out samples"
    if low < LEAST_GAP:
        return "not clear", (
            f"the gain of {_points(s.gap.difference)} is not sure: it lies between {_points(low)} and {_points(high)}"
        )
    if s.reaches is None:
        return "not clear", "prompts help, but a served policy gives no log-probs, so what can be trained is not known"
    take = s.reaches.recommended(s.distillation)
    if s.reaches.ways[take].reach < REACHED:
        return "not clear", f"prompts help, but only {percent(s.reaches.ways[take].reach)} of {TRAINED}"
    gain = f"templates add {_points(s.gap.difference)} on held-out hard samples"
    return "worth it", f"{gain}; {_advice(s.reaches, s.distillation, take)}"


def _nothing_found(evolution: Mapping[str, Any]) -> tuple[Worth, str]:
    """The verdict where no template solved a hard sample. How sure it is depends on how long the screen looked."""
    found, of_run = f"no template found with {evolution['rollouts']:,} rollouts", f"{evolution['of_run']:,}"
    if more := larger_budget(evolution):
        return (
            "not clear",
            f"{found}, and an evolution of the run makes up to {of_run}; screen again with --budget {more}",
        )
    idle = evolution["stopped"] == "idle"
    why = "the reflector writes nothing new" if idle else f"and an evolution of the run makes {of_run} at most"
    return "not worth it", f"prompts do not help: {found}, {why}"


def larger_budget(evolution: Mapping[str, Any]) -> int | None:
    """A budget for the next screen, after one that found no template; None where a larger one tells nothing new.

    Args:
        evolution: the screen's figures of it.
    """
    if evolution["stopped"] == "idle" or evolution["budget"] >= evolution["of_run"]:
        return None
    return min(MORE * int(evolution["budget"]), int(evolution["of_run"]))


def _advice(found: Reaches, own: str, take: str) -> str:
    """Which way of distillation to take, and what the recipe's would lose."""
    if take == own:
        return f"with distillation: {own}, at most {percent(found.ways[own].reach)} of {TRAINED}, {LONG_ENOUGH}"
    return (
        f"take distillation: {take}, with which at most {percent(found.ways[take].reach)} of {TRAINED}, {LONG_ENOUGH}; "
        f"with the recipe's {own} it is {percent(found.ways[own].reach)}"
    )


def _numbers(s: Screen) -> list[str]:
    hard = f"hard: {percent(s.hard.share)} of the samples {_span(s.hard.interval)}, of {s.total} in all"
    lines = [f"{hard}; hard_min_count is {s.hard_min_count}"]
    if s.evolution:
        lines += [*_evolution(s), _gap(s.gap), *_reaches(s.reaches)]
    else:
        lines.append(f"evolution: not tried, it needs {LEAST_HARD} hard samples in the screen")
    if s.projection is not None:
        lines.append(_cost(s.projection))
        if s.gap is None and s.projection.p2o_cost is not None:
            lines.append("these costs take the bare lengths for templated rollouts, which were not measured")
    return lines


def _evolution(s: Screen) -> list[str]:
    best = s.evolution["best_dev_scores"][-1]
    failures = s.reflector_failures
    return [
        f"evolution: {counted(s.evolution['candidates'], 'candidate')} in {s.evolution['rollouts']} rollouts, best dev "
        f"score {percent(best)}, {counted(len(s.pool), 'template')} in the pool",
        "reflector: never asked" if failures is None else f"reflector: usable replies {percent(1 - failures)}",
    ]


def _gap(gap: TemplateEffect | None) -> str:
    if gap is None:
        return "held-out hard samples: not measured under templates"
    return (
        f"held-out hard samples: bare {percent(gap.bare)}, templated {percent(gap.templated)}, gap "
        f"{_points(gap.difference)} {_span(gap.interval)} on {counted(gap.samples, 'sample')}"
    )


def _reaches(found: Reaches | None) -> list[str]:
    if found is None:
        return ["distillation: not measured, no log-probs of a solved templated rollout"]
    of = f"{found.tokens} tokens of {found.rollouts} solved templated rollouts"
    lines = [f"distillation: how much of {TRAINED} (from {of}):"]
    for name, way in found.ways.items():
        lines.append(f"  {name}: {percent(way.reach)}; {percent(way.untrained)} of the tokens get no gradient")
    return lines


def _cost(p: Projection) -> str:
    rollouts = f"cost of {p.epochs:g} epochs: {p.p2o_rollouts:,.0f} rollouts (GRPO {p.grpo_rollouts:,.0f})"
    if not p.p2o_cost or not p.grpo_cost:
        return f"{rollouts}; tokens: not measured, the endpoint reports no token counts (usage)"
    return (
        f"{rollouts}, at most {short(p.p2o_cost)} forward-equivalent tokens ({p.p2o_cost / p.grpo_cost:.2g} times "
        f"GRPO's {short(p.grpo_cost)}, which trains {percent(p.live)} of its groups)"
    )


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f} points"


def _span(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
