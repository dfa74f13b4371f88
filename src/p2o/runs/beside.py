"""Evolution beside training: what runs in the second process (seen from the training: `second_process`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base.files import read_json, write_json
from ..core.cost import CostMeter
from ..core.evolve import Reflector
from ..core.methods import Task
from ..core.methods.evolving import evolve_on
from ..generation.prompt_step import counted_tools
from ..reflectors.building import build_reflector
from ..reflectors.control_tokens import ControlGuard
from ..rewards import RewardSet
from .building import rewards_of, samples_of
from .fixed_policy import FixedPolicy, fixed_policy
from .recipe import load_recipe
from .second_process import DONE, RECIPE, TASK, WEIGHTS


def evolve_beside(folder: Path, words: Sequence[str]) -> None:
    """Evolves what a folder asks for, and writes the result there.

    Args:
        folder: made by `SecondProcess.begin`.
        words: settings that its recipe lacks.
    """
    recipe, task = load_recipe(str(folder / RECIPE), words), Task(**read_json(folder / TASK))
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    policy, training, cost = fixed_policy(recipe, str(folder / WEIGHTS), rewards), recipe.training, CostMeter()
    reflector, on_policy = _reflector(policy, rewards)
    tools = counted_tools(
        policy.evolving(),
        reflector,
        cost,
        control=ControlGuard(getattr(policy.policy, "tokenizer", None)),
        on_policy=on_policy,
    )
    by_id = {sample.id: sample for sample in samples}
    evolution = evolve_on(task, training, by_id, training.seed, training.num_generations, tools, folder.parent)
    seconds = {"evolve": cost["evolve"].seconds, "reflect": cost["reflect"].seconds}
    write_json(folder / DONE, {"evolution": evolution.to_dict(), "seconds": seconds})


def _reflector(policy: FixedPolicy, rewards: RewardSet) -> tuple[Reflector, bool]:
    """(The recipe's reflector, whether it is the policy itself)."""
    reflector = build_reflector(policy.recipe.task)
    if not isinstance(reflector, str):
        return reflector, False
    if reflector == "self":  # the starting policy
        policy = fixed_policy(policy.recipe, str(policy.recipe.model.model_name_or_path), rewards)
    return policy.own_reflector(), True
