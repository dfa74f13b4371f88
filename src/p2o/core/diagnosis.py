"""What is wrong with a run, and what to try next. Pure: figures in, sentences and a command out.

The terminal, the report and ``p2o screen`` ask here. The cases are those of docs/troubleshooting.md, under their keys.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..base.terminal import percent
from ..base.text import counted
from ..base.words import settings_without
from .facts import FEW, Facts

FLAT_SHARE = 0.7
"""When at least this share of the groups has no spread, there is almost nothing to learn from."""
SOLVED_SHARE = 0.1
"""When a smaller share of flat groups failed, little is left to learn."""
STUCK_SHARE = 0.3
"""When no template helps, and at least this share of the groups failed without spread, a part of the data is lost."""
FAILING_SHARE = 0.3
"""A reflector that fails on more of its calls is a fault to fix first."""
MASKED_SHARE = 0.01
"""When the ratio mask drops more of the templated tokens, it may drop those that matter: one token of fifty is enough
(``p2o train switch --distillation mask``). Where the mask does no harm, it drops 0.2 to 0.4 %."""
CLIPPED_SHARE = 0.1
"""When more completions are cut at the limit, right answers are lost."""
FORGOTTEN_SHARE = 0.02
"""When more of an epoch's samples are forgotten, training harms what was mastered."""
GRADUATED_SHARE = 0.1
"""When fewer of the rescued samples graduate, the templates' help does not reach the bare prompt."""
FEW_ITERATIONS = 4
"""An evolution of fewer iterations had no time to find anything."""

CANNOT_WRITE = "take another reflector: a model with a longer context (openai), or phrases, which needs none"
EPOCHS = 3
"""The default of ``num_train_epochs``, which a resolved recipe leaves out."""

RUN_KEYS = ("output_dir", "if_exists", "resume_from_checkpoint")
"""Settings of a run that the next one does not take over."""

RunBy = Sequence[str] | Literal["verl"] | None
"""What makes a run: the words behind ``p2o train``, a command of verl's, or (None) Python."""

VERL_KEYS = {
    "num_train_epochs": "trainer.total_epochs",
    "learning_rate": "actor_rollout_ref.actor.optim.lr",
    "beta": "actor_rollout_ref.actor.kl_loss_coef",
    "max_completion_length": "data.max_response_length",
}
"""Key → verl's name of it. All other keys are P²O's own there, ``p2o.KEY``."""

Case = Literal["solved", "teacher", "empty_pool", "few_hard", "flat", "partial", "masked", "slow", "forgotten", "cut"]


@dataclass(frozen=True)
class Finding:
    """One thing that happened, and the next step."""

    case: Case
    happened: str
    advice: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings to try, by their keys; with ``screen`` options of ``p2o screen`` too."""
    screen: bool = False
    """Whether ``p2o screen`` is the next step."""

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong. A run whose samples are all solved has nothing wrong with it."""
        return self.case != "solved"

    def command(self, run_by: RunBy) -> str:
        """The next step as a command, as overrides of a verl command, or as Python; "" when there is none.

        Args:
            run_by: what makes the run.
        """
        if run_by == "verl":
            names = {key: VERL_KEYS.get(key, f"++p2o.{key}") for key in self.changes}
            return shlex.join(f"{names[key]}={_word(value)}" for key, value in self.changes.items())
        if self.screen:
            kept = settings_without(run_by or ["RECIPE.yaml"], {*self.changes, *RUN_KEYS})
            return shlex.join(["p2o", "screen", *kept, *self._words()])
        if not self.changes:
            return ""
        if run_by is None:
            return "P2OConfig(" + ", ".join(f"{key}={value!r}" for key, value in self.changes.items()) + ", …)"
        kept = settings_without(run_by, {*self.changes, *RUN_KEYS})
        return shlex.join(["p2o", "train", *kept, *self._words(), "--if_exists", "new"])

    def _words(self) -> list[str]:
        return [word for key, value in self.changes.items() for word in (f"--{key}", _word(value))]

    def lines(self, run_by: RunBy) -> list[str]:
        """Two or three lines: what happened; the advice; the command."""
        command = self.command(run_by)
        return [self.happened, f"next: {self.advice}", *([command] if command else [])]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"  # verl takes whole numbers without a point only
    return value if isinstance(value, str) else json.dumps(value)


def diagnose(facts: Facts) -> list[Finding]:
    """What is wrong, the most urgent first; empty when nothing is known to be."""
    teacher = _teacher(facts)
    flat = [] if teacher else _flat(facts)  # a failing teacher explains an empty pool
    found = [teacher, *flat, _not_graduated(facts), _forgotten(facts), _cut(facts)]
    return [finding for finding in found if finding is not None]


def _teacher(f: Facts) -> Finding | None:
    if not f.reflector_calls or f.reflector_failed <= FAILING_SHARE * f.reflector_calls:
        return None
    happened = f"the reflector failed on {f.reflector_failed} of {f.reflector_calls} calls: {f.reflector_reasons}"
    if "timeout" in f.reflector_reasons:
        slow = 2 * float(f.settings.get("reflector_timeout") or 120)
        return Finding("teacher", happened, "give it more time, and ask less at a time",
                       {"reflector_timeout": slow, "reflector_concurrency": 2})  # fmt: skip
    if "prompt_too_long" in f.reflector_reasons:
        return Finding("teacher", happened, CANNOT_WRITE, {"reflector": "phrases"}, screen=True)
    if f.screened:  # the same command would tell the same
        return Finding("teacher", happened, "fix that, or take another reflector, and screen again")
    return Finding("teacher", happened, "fix that; p2o screen tries it without training", screen=True)


def _flat(f: Facts) -> list[Finding]:
    if _has_only_partial_rewards(f):
        return [_partial(f)]
    if f.templated_next or f.begun:  # a later epoch shows whether templates help
        return []
    if not _is_flat(f):
        stuck = f.no_spread - f.all_solved >= STUCK_SHARE * max(1, f.groups)
        return [_empty_pool(f)] if stuck and f.no_template_helps else []
    if f.all_failed < SOLVED_SHARE * f.groups:
        return [Finding("solved", f"{f.spread}: there is little left to learn here", "take harder data, or stop here")]
    if f.no_template_helps:
        return [_empty_pool(f)]
    if f.templated_success or f.alone:  # templates are in use; or they come when GRPO is stuck
        return []
    least = f.settings.get("hard_min_count")
    evolves = f.settings.get("method", "p2o") == "p2o"
    if evolves and not f.evolved and least is not None and FEW <= f.hard < least:
        happened = f"{f.spread}; templates are evolved for {least} hard samples or more, and {f.hard} are hard"
        fewer = {"hard_min_count": max(2, f.hard // 2)}
        return [Finding("few_hard", happened, "evolve for fewer, or take more data", fewer)]
    advice = "find out whether prompts can help"
    return [Finding("flat", f"{f.spread}, and no template is in use", advice, screen=not f.screened)]


def _empty_pool(f: Facts) -> Finding:
    happened = f"{f.spread}; none of {counted(f.candidates, 'candidate')} solved a hard sample"
    if f.templated_success is not None:
        happened = f"{f.spread}; under templates {percent(f.templated_success)} of the rollouts are solved"
    elif f.larger_screen is not None:
        return Finding("empty_pool", happened, "let it look longer", {"budget": f.larger_screen}, screen=True)
    elif f.iterations < FEW_ITERATIONS and not f.screened:
        more = {"evolve_budget": _larger(str(f.settings.get("evolve_budget", "heavy_4")))}
        return Finding(
            "empty_pool", f"{happened} in {counted(f.iterations, 'iteration')}", "give it more rollouts", more
        )
    reflector = f.settings.get("reflector")
    advice = "take a stronger reflector, or an easier task: prompts did not help here"
    if not f.screened:
        advice = "find out whether prompts can help at all, or take a stronger reflector"
    named = f" (reflector {reflector})" if reflector else ""
    return Finding("empty_pool", happened + named, advice, screen=not f.screened)


def _larger(budget: str) -> str:
    if budget.isdigit():
        return str(4 * int(budget))
    return "heavy_16" if budget.startswith("heavy_") else "heavy_4"


def _is_flat(f: Facts) -> bool:
    return f.groups > 0 and f.no_spread >= FLAT_SHARE * f.groups


def _has_only_partial_rewards(f: Facts) -> bool:
    return f.groups > 0 and f.all_failed >= FLAT_SHARE * f.groups and not _is_flat(f)


def _partial(f: Facts) -> Finding:
    threshold = f.settings.get("success_threshold", 1.0)
    happened = (
        f"in {f.all_failed} of {f.groups} groups no reward reaches success_threshold {threshold}, although "
        f"{f.groups - f.no_spread} of them have spread: the rewards are partial"
    )
    advice = "GRPO learns from them; if a smaller reward is already right, say so"
    return Finding("partial", happened, advice, {"success_threshold": round(0.5 * float(threshold), 3)})


def _not_graduated(f: Facts) -> Finding | None:
    if f.rescued < FEW or not f.rescued_before or f.rising or f.graduated > GRADUATED_SHARE * f.rescued:
        return None
    happened = f"{f.rescued} samples were rescued in this epoch, and {f.graduated} have graduated so far"
    if f.settings.get("distillation") == "none":
        return Finding("masked", f"{happened}: distillation is none, so the bare prompt learns nothing",
                       "distil", {"distillation": "solved"})  # fmt: skip
    has_mask = f.settings.get("distillation") == "mask" and f.masked is not None
    dropped = f"; the ratio mask drops {percent(f.masked)} of the templated tokens" if has_mask else ""
    if has_mask and (f.masked or 0) > MASKED_SHARE:
        advice = "keep the tokens that the bare prompt finds unlikely, where the answer is right"
        return Finding("masked", happened + dropped, advice, {"distillation": "solved"})
    epochs = float(f.settings.get("num_train_epochs") or EPOCHS)
    return Finding("slow", happened + dropped, "train longer", {"num_train_epochs": 2 * epochs})


def _forgotten(f: Facts) -> Finding | None:
    if f.forgotten < max(FEW, FORGOTTEN_SHARE * f.groups):
        return None
    happened = f"{f.forgotten} of {f.groups} samples are forgotten: mastered before, every bare rollout fails now"
    if f.settings.get("scale_steps") is False:
        advice = "take smaller steps where few groups have spread"
        return Finding("forgotten", happened, advice, {"scale_steps": True})
    rate = f.settings.get("learning_rate")
    changes = {"learning_rate": float(f"{float(rate) / 3:.1g}")} if rate else {"beta": 0.02}
    return Finding("forgotten", happened, "take smaller steps", changes)


def _cut(f: Facts) -> Finding | None:
    if f.clipped is None or f.clipped < CLIPPED_SHARE:
        return None
    limit = f.settings.get("max_completion_length")
    long = f" of {limit} tokens" if limit else ""
    happened = f"{percent(f.clipped)} of the completions are cut at their limit{long}"
    return Finding("cut", happened, "leave them more room", {"max_completion_length": 2 * limit} if limit else {})
