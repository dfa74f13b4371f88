"""The arms of a comparison: what each changes in the recipe."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...base.loading import load_module
from ...base.spelling import nearest
from ...base.text import one_line
from ...core.methods import Method, evolves_templates, load_method
from ...errors import ConfigError
from ...runs.recipe import Recipe

Kind = Literal["train", "equal_cost", "prompt_only"]


@dataclass(frozen=True)
class Arm:
    """One method of a comparison."""

    name: str
    what: str
    """One line for the reader of the table."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe that differ."""
    kind: Kind = "train"
    """``equal_cost``: trained until it has cost what the dearest of the other methods cost (`is_equalled`).
    ``prompt_only``: not trained."""


_PLAIN = {"scale_steps": False, "pull": 0.0, "sampling": "uniform", "evolve_when": "hard", "evolve_beside": False}
_STEADY = {"scale_steps": True, "pull": 0.015}
_GRPO = {"method": "grpo", **_PLAIN}
_PAPER = {
    "method": "p2o",
    "withdrawal": "solved",
    "bare_slots": 0,
    "warm_start": False,
    "distillation": "mask",
    "template_worth": "success",
    "evolve_search": "minibatch",
    "evolve_patience": None,
    **_PLAIN,
}
_GRADUATED = {
    "method": "p2o",
    "withdrawal": "graduated",
    "bare_slots": 1,
    "warm_start": True,
    "template_worth": "success",
    **_PLAIN,
}
# The front of the first round holds the bare prompt alone: without fill_proposals that is one proposal.
_ONE_ROUND = {**_PAPER, "evolve_max_iterations": 1, "fill_proposals": True}
_ARMS = (
    Arm("grpo", "GRPO as TRL trains it", _GRPO),
    Arm("grpo_steady", "GRPO that forgets less (scale_steps, pull)", {**_GRPO, **_STEADY}),
    Arm("grpo_x2", "GRPO with twice the rollouts in each group", _GRPO),
    Arm(
        "grpo_equal",
        "GRPO, trained until it has cost what the dearest of the other methods cost in all",
        _GRPO,
        "equal_cost",
    ),
    Arm("p2o", "P²O, templates withdrawn by the paper's rule", _PAPER),
    Arm(
        "p2o_graduated",
        "P²O, templates withdrawn on bare success, pool carried over",
        {**_GRADUATED, "distillation": "mask"},
    ),
    Arm(
        "p2o_smoothed",
        "p2o_graduated, templates withdrawn on smoothed bare success, which also makes more slots bare",
        {**_GRADUATED, "distillation": "mask", "withdrawal": "smoothed"},
    ),
    Arm(
        "p2o_transfer",
        "p2o_graduated, templates chosen by what carries over to the bare prompt",
        {**_GRADUATED, "distillation": "mask", "template_worth": "transfer"},
    ),
    Arm(
        "p2o_solved",
        "p2o_graduated, solved rollouts trained with the tokens that the paper's mask drops",
        {**_GRADUATED, "distillation": "solved"},
    ),
    Arm(
        "p2o_steady",
        "p2o_solved that forgets less (scale_steps, pull), and evolves only where GRPO does not get on (evolve_when)",
        {**_GRADUATED, "distillation": "solved", **_STEADY, "evolve_when": "stuck"},
    ),
    Arm(
        "random_pool",
        "p2o with the proposals of one round of reflection, unselected",
        {**_ONE_ROUND, "pool": "proposals"},
    ),
    Arm("single_reflection", "p2o with one round of reflection, no evolution", _ONE_ROUND),
    Arm("p2o_one_template", "p2o with one template for a whole group", {**_PAPER, "same_template_in_sample": True}),
    Arm("p2o_no_distill", "p2o, trained on the templated prompt", {**_PAPER, "distillation": "none"}),
    Arm("p2o_no_mask", "p2o without the ratio mask", {**_PAPER, "distillation": "no_mask"}),
    Arm(
        "p2o_positive",
        "p2o without the ratio mask, failed templated rollouts not trained",
        {**_PAPER, "distillation": "no_mask", "drop_failed_template_rollout": True},
    ),
    Arm("p2o_wide_first", "p2o, the mask's lower bound from the third epoch with templates on",
        {**_PAPER, "distillation": "wide_first"}),
    Arm("p2o_shape", "p2o with LUFFY's policy shaping in place of the mask", {**_PAPER, "distillation": "shape"}),
    Arm("p2o_kl", "p2o with a KL term on solved templated rollouts", {**_PAPER, "distillation": "kl"}),
    Arm("p2o_soft", "p2o with the soft clip in place of the mask", {**_PAPER, "distillation": "soft"}),
    Arm("p2o_tau1", "p2o, only all-failed samples are hard", {**_PAPER, "tau": 1}),
    Arm("dapo", "GRPO that replaces groups without spread by groups of further samples (DAPO's dynamic sampling)",
        {**_GRPO, "method": "dapo"}),
    Arm("dapo_steady", "dapo that forgets less (scale_steps, pull)", {**_GRPO, "method": "dapo", **_STEADY}),
    Arm("zvp", "GRPO with advantages from token entropies for groups without spread (RL-ZVP)",
        {**_GRPO, "method": "zvp"}),
    Arm("knapsack", "GRPO whose rollouts go to the samples of the largest expected value (Knapsack RL)",
        {**_GRPO, "method": "knapsack"}),
    Arm("review", "GRPO in which mastered and hopeless samples come back at growing intervals (sampling: adaptive)",
        {**_GRPO, "sampling": "adaptive"}),
    Arm("prefix", "GRPO with the beginning of the solution in front, shortened as success grows (POPE, QuestA)",
        {**_GRPO, "method": "prefix"}),
    Arm("sage", "GRPO with hints cut from the solution, more where all fail, fewer above 35 % (SAGE)",
        {**_GRPO, "method": "sage"}),
    Arm("scaf", "GRPO with one row of a failed group drawn under the weakest hint that works (Scaf-GRPO)",
        {**_GRPO, "method": "scaf"}),
    Arm("scaf_sft", "scaf, the hinted row trained with weight 1", {**_GRPO, "method": "scaf_sft"}),
    Arm("scaf_shape", "scaf, the hinted row trained with policy shaping", {**_GRPO, "method": "scaf_shape"}),
    Arm("luffy", "GRPO with the solution as one row of each group, shaped (LUFFY)", {**_GRPO, "method": "luffy"}),
    Arm("luffy_steady", "luffy that forgets less (scale_steps, pull)", {**_GRPO, "method": "luffy", **_STEADY}),
    Arm("hdpo", "GRPO, and forward KL from successes with the solution where all failed (HDPO)",
        {**_GRPO, "method": "hdpo"}),
    Arm("sdft", "no rewards: reverse KL to the same policy with the solution (SDFT)", {**_GRPO, "method": "sdft"}),
    Arm("opsd", "no rewards: forward KL to the same policy with the solution (OPSD)", {**_GRPO, "method": "opsd"}),
    Arm("prompt_only", "no training: the evolved pool's best template used at inference", kind="prompt_only"),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _ARMS}
DEFAULT = ("grpo", "grpo_equal", "p2o", "p2o_solved")
P2O_IN_ALL = ("p2o", "p2o_graduated", "p2o_solved", "p2o_steady", "p2o_teacher")
"""The shipped arms whose cost ``grpo_equal`` is given (the dearest of them): P²O whole, no ablation."""

# In every arm. A schedule would distort what is read at equal cost; a group without spread is not trained in any arm.
COMMON = {"lr_scheduler_type": "constant", "skip_dead_rows": True}


def arms_of(recipe: Recipe | None, names: Sequence[str]) -> list[Arm]:
    """The arms of a comparison, in the order asked for.

    Args:
        recipe: its own arms (key ``arms``) are known too; None: a verl command, which has none.
        names: of arms, or a method of your own (``file.py:Class``), whose arm is named after the class.

    Raises:
        ConfigError: there is no such arm or method, two arms have one name, or ``grpo_equal`` has no arm to equal.
    """
    chosen = [_arm(name, recipe) for name in dict.fromkeys(names)]
    for arm in chosen:
        if not re.fullmatch(r"[^\W_][\w.+-]*", arm.name):
            raise ConfigError(
                f"an arm is named {arm.name!r}, and its runs need a folder of that name; begin it with a letter or a "
                "digit, and use letters, digits, _ . + and - alone"
            )
        if sum(other.name == arm.name for other in chosen) > 1:
            raise ConfigError(f"two arms are named {arm.name}; name them apart under 'arms' in the recipe")
    if any(a.kind == "equal_cost" for a in chosen) and not any(is_equalled(a) for a in chosen):
        raise ConfigError(
            f"grpo_equal is trained until it has cost what another method cost; add one of {', '.join(P2O_IN_ALL)}, or "
            "a method of your own, to --arms"
        )
    return chosen


def _arm(name: str, recipe: Recipe | None) -> Arm:
    own = recipe.task.arms if recipe else {}
    if name in own:
        return Arm(name, _what(own[name]), own[name])
    if name in ARMS:
        return ARMS[name]
    if ":" in name:
        return Arm(load_method(name).__name__, _what({"method": name}), {"method": name})
    if name == "p2o_teacher" and recipe:
        raise ConfigError(
            f"the recipe {recipe.name} names no stronger reflector; give it arms: {{p2o_teacher: {{reflector: openai, "
            "reflector_model: …, reflector_base_url: …}}"
        )
    known = [*ARMS, *own]
    raise ConfigError(
        f"there is no arm {name!r}{nearest(name, known)}; there are {', '.join(known)}, and file.py:Class for a method "
        "of your own"
    )


def _what(settings: Mapping[str, Any]) -> str:
    """One line on an arm that is not shipped: the first line of its method's docstring, if that is the user's own."""
    method = str(settings.get("method", "p2o"))
    said = (load_method(method).__doc__ or "").strip().partition("\n")[0]
    return one_line(f"{method}: {said}" if said else method) if ":" in method else "an arm of the recipe"


REFLECTORS = {"phrases": "a bank of phrases", "openai": "feedback, a teacher"}
"""Reflector → what P²O is given with it. The policy reads feedback alone."""


def given_to(arm: Arm, method: str, reflector: str, worth: str = "success") -> str:
    """What an arm is given beside the rewards, in a few words.

    Args:
        method, reflector, worth: the recipe's method, reflector and template_worth, for an arm that does not change
            them.
    """
    method = "p2o" if arm.kind == "prompt_only" else str(arm.settings.get("method", method))
    given = load_method(method).given
    if not evolves_templates(method):
        return "not said" if ":" in method and given == Method.given else given
    reflector = str(arm.settings.get("reflector", reflector))
    said = REFLECTORS.get(reflector, f"{given}, a reflector of your own" if ":" in reflector else given)
    return f"{said}, solutions" if arm.settings.get("template_worth", worth) == "solution" else said


def is_equalled(arm: Arm) -> bool:
    """Whether the arm is one of those whose cost ``grpo_equal`` is given: P²O whole, or a method of the user's own."""
    return arm.name in P2O_IN_ALL or ":" in str(arm.settings.get("method", ""))


def method_sources(default: str, arms: Sequence[Arm]) -> dict[str, str]:
    """Method → SHA-256 of the file that its class is in, of the user's own methods.

    Args:
        default: the method of the arms that name none.
    """
    methods = {str(arm.settings.get("method", default)) for arm in arms}
    files = {method: load_module(method.rpartition(":")[0]).__file__ for method in sorted(methods) if ":" in method}
    return {method: hashlib.sha256(Path(file).read_bytes()).hexdigest() for method, file in files.items()}


def settings_of(arm: Arm, recipe: Recipe) -> dict[str, Any]:
    """The keys that the arm changes in this recipe."""
    settings = {**arm.settings, **COMMON}
    if arm.name == "grpo_x2":
        # The groups of a step stay what they are; only their size doubles.
        training = recipe.training
        settings["num_generations"] = 2 * training.num_generations
        settings["gradient_accumulation_steps"] = 2 * training.gradient_accumulation_steps
        settings["steps_per_generation"] = 2 * training.steps_per_generation
    if not recipe.task.eval and recipe.task.test:
        settings["eval"] = recipe.task.test
        settings["eval_split"] = recipe.task.test_split
    if recipe.training.eval_strategy == "no":
        settings["eval_strategy"] = "epoch"
    return {**settings, "eval_on_start": True}
