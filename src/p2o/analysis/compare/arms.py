"""The arms of a comparison: what each changes in the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...base.spelling import nearest
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
    """``equal_cost``: trained until it has cost what the dearest P²O arm cost. ``prompt_only``: not trained."""


_PAPER = {"method": "p2o", "withdrawal": "solved", "bare_slots": 0, "warm_start": False}
# The front of the first round holds the bare prompt alone: without fill_proposals that is one proposal.
_ONE_ROUND = {**_PAPER, "evolve_max_iterations": 1, "fill_proposals": True}
_ARMS = (
    Arm("grpo", "GRPO as TRL trains it", {"method": "grpo"}),
    Arm("grpo_x2", "GRPO with twice the rollouts in each group", {"method": "grpo"}),
    Arm("grpo_equal", "GRPO, trained until it has cost what P²O cost in all", {"method": "grpo"}, "equal_cost"),
    Arm("p2o", "P²O, templates withdrawn by the paper's rule", _PAPER),
    Arm(
        "p2o_graduated",
        "P²O, templates withdrawn on bare success, pool carried over",
        {"method": "p2o", "withdrawal": "graduated", "bare_slots": 1, "warm_start": True},
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
    Arm("p2o_soft", "p2o with the soft clip in place of the mask", {**_PAPER, "distillation": "soft"}),
    Arm("p2o_tau1", "p2o, only all-failed samples are hard", {**_PAPER, "tau": 1}),
    Arm("prompt_only", "no training: the evolved pool's best template used at inference", kind="prompt_only"),
)  # fmt: skip
ARMS = {arm.name: arm for arm in _ARMS}
DEFAULT = ("grpo", "grpo_equal", "p2o", "p2o_graduated")
P2O_IN_ALL = ("p2o", "p2o_graduated", "p2o_teacher")
"""The arms whose cost ``grpo_equal`` is given: the dearest of those in the comparison."""

# In every arm. A schedule would distort what is read at equal cost; a dead row costs nothing in any arm.
COMMON = {"lr_scheduler_type": "constant", "skip_dead_rows": True}


def arms_of(recipe: Recipe, names: list[str]) -> list[Arm]:
    """The arms by name, those of the recipe's own included; ``grpo_equal`` comes last.

    Raises:
        ConfigError: there is no such arm, or ``grpo_equal`` has no P²O arm to equal.
    """
    own = {name: Arm(name, "an arm of the recipe", settings) for name, settings in recipe.task.arms.items()}
    known = {**ARMS, **own}
    for name in names:
        if name == "p2o_teacher" and name not in known:
            raise ConfigError(
                f"the recipe {recipe.name} names no stronger reflector; give it arms: {{p2o_teacher: {{reflector: "
                "openai, reflector_model: …, reflector_base_url: …}}"
            )
        if name not in known:
            raise ConfigError(f"there is no arm {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    chosen = sorted((known[n] for n in dict.fromkeys(names)), key=lambda arm: arm.kind == "equal_cost")
    if any(a.kind == "equal_cost" for a in chosen) and not any(a.name in P2O_IN_ALL for a in chosen):
        raise ConfigError(f"grpo_equal is given what P²O cost; add one of {', '.join(P2O_IN_ALL)} to --arms")
    return chosen


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
