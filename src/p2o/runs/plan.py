"""The plan of a run, before anything is loaded (``p2o train RECIPE --dry-run``).

Steps and rollouts are exact where the number of samples is known; tokens are upper bounds (every completion as long as
it may be), prompts left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.text import counted
from ..core.cost import TRAINED_TOKEN_COST
from ..core.hard import dev_part_size
from ..core.methods import evolves_templates, load_method
from ..errors import ConfigError, DataError, ReflectorError
from .estimate import RunCounts, count_run, evolution_count, evolution_rollouts
from .gpu import gpu_is_here
from .machine import missing_packages
from .memory import memory, model_shape

if TYPE_CHECKING:
    from ..core.samples import Sample
    from .recipe import Recipe


@dataclass(frozen=True)
class PromptSteps:
    """What the evolutions may spend."""

    count: int
    """Evolutions of the run."""
    dev_size: int
    """Samples in the dev part."""
    rollouts: int
    """Most rollouts of one."""


@dataclass(frozen=True)
class Plan(RunCounts):
    """What a recipe will do."""

    name: str
    max_completion: int
    """Longest completion, in tokens."""
    prompt_steps: PromptSteps | None
    """None: nothing is evolved."""
    scores_old: bool
    """Whether the old log-probs take a pass of their own."""
    memory_gb: list[tuple[str, float]]
    """(part, GB on each GPU); empty when the model's size is not known."""
    engine_share: float | None
    """Share of a GPU's memory that vLLM takes beside that."""
    notes: list[str]
    """What must be seen to before training."""

    @property
    def evolution_rollouts(self) -> int:
        """Most rollouts of all evolutions."""
        return self.prompt_steps.count * self.prompt_steps.rollouts if self.prompt_steps else 0

    @property
    def generated_tokens(self) -> int | None:
        """Most tokens that are generated, evolutions included."""
        if self.rollouts is None:
            return None
        return (self.rollouts + self.evolution_rollouts) * self.max_completion

    @property
    def cost(self) -> int | None:
        """Most forward-equivalent tokens (see `p2o.core.cost`), without prompts and ratio pass."""
        if self.rollouts is None:
            return None
        per_rollout = 1 + int(self.scores_old) + TRAINED_TOKEN_COST
        return (self.rollouts * per_rollout + self.evolution_rollouts) * self.max_completion


def make_plan(recipe: Recipe) -> Plan:
    """Counts a recipe.

    Raises:
        ConfigError: the settings do not fit together, or the data does not fill one generation.
        DataError, RewardError: local data or a reward cannot be used.
    """
    training, notes = recipe.training, _machine_notes(recipe)
    processes = recipe.task.processes or training.world_size
    run = count_run(training, processes, count_samples(recipe, notes))
    if run.generations_per_epoch == 0:
        raise ConfigError(
            f"{run.samples} training samples do not fill one generation of {run.samples_per_generation} "
            f"({run.rollouts_per_generation} rollouts in groups of {run.group}); take more data or a smaller batch"
        )
    every = training.steps_per_generation * training.num_iterations
    redraws = load_method(training.method).redraws
    if redraws:
        notes.append(
            f"method {training.method} replaces groups without spread: it may draw up to {1 + redraws} times the "
            "rollouts that are counted here"
        )
    return Plan(
        **vars(run),
        name=recipe.name,
        max_completion=training.max_completion_length or 0,
        prompt_steps=_prompt_steps(recipe, run, notes),
        scores_old=bool(training.gradient_accumulation_steps % every),
        memory_gb=memory(recipe, processes),
        engine_share=training.vllm_gpu_memory_utilization if training.use_vllm else None,
        notes=notes,
    )


def _prompt_steps(recipe: Recipe, run: RunCounts, notes: list[str]) -> PromptSteps | None:
    training, samples = recipe.training, run.samples
    if not evolves_templates(training.method):
        return None
    count = evolution_count(run.epochs, training.evolve_beside)
    if not count:
        if training.evolve_beside:
            notes.append(
                f"nothing is ever evolved: with evolve_beside the first templates are used in the third epoch, and "
                f"there are {run.epochs:g}"
            )
        return None
    if samples is not None and samples < training.hard_min_count:
        notes.append(f"nothing is ever evolved: {samples} samples, hard_min_count {training.hard_min_count}")
        return None
    dev = training.dev_size if samples is None else dev_part_size(samples, training.dev_size)
    rollouts = evolution_rollouts(training, dev)
    if rollouts < dev:
        raise ConfigError(
            f"evolve_budget {training.evolve_budget} does not pay for the bare prompt on {dev} dev samples; "
            "raise it, or lower dev_size"
        )
    return PromptSteps(count, dev, rollouts)


def is_local(source: str) -> bool:
    """Whether a data source can be counted without a network."""
    return source.partition(":")[0] in ("builtin", "reasoning_gym") or Path(source).expanduser().exists()


def count_samples(recipe: Recipe, notes: list[str]) -> int | None:
    """Training samples, read from local data; checks the local eval and test data too, and notes what is not here."""
    from .building import samples_of

    found: dict[str, list[Sample]] = {}
    for part in ("train", "eval", "test"):
        source = getattr(recipe.task, part)
        if not source:
            continue
        if not is_local(source):
            notes.append(f"the {part} data {source} is not on this machine: its size is not known")
            continue
        if part != "train" and "train" not in found:
            continue  # held-out data is compared with the training data
        try:
            found[part] = samples_of(recipe, part, found.get("train"))
        except DataError as error:
            if "needs reasoning-gym" not in str(error):
                raise
            notes.append(f"the {part} data is not counted: {error}")
    return len(found["train"]) if "train" in found else None


def _machine_notes(recipe: Recipe) -> list[str]:
    """Checks what can be checked here; what this machine lacks becomes a note."""
    from ..reflectors.building import build_reflector
    from .building import rewards_of

    notes = []
    rewards_of(recipe)
    try:
        if evolves_templates(recipe.training.method):
            build_reflector(recipe.task)
    except ReflectorError as error:
        notes.append(str(error))
    if not recipe.training.use_cpu and not gpu_is_here():
        notes.append("no GPU here: the settings were checked without one")
    notes += missing_packages(recipe)
    if not recipe.model.model_name_or_path:
        raise ConfigError(f"the recipe {recipe.name} names no model; set 'model_name_or_path'")
    shape = model_shape(str(recipe.model.model_name_or_path))
    if shape is None:
        notes.append(f"the size of {recipe.model.model_name_or_path} is not known here: no memory estimate")
    return notes


def plan_lines(plan: Plan) -> list[str]:
    """The plan in words, a line for each thing."""
    made = f"{plan.processes} process{'es' if plan.processes > 1 else ''}"
    lines = [f"Plan of {plan.name} for {made}: counted, nothing was loaded"]

    def say(what: str, text: str) -> None:
        lines.append(f"  {what:<12} {text}")

    rollouts = f"{plan.rollouts_per_generation:,} rollouts; {plan.rollouts_per_update:,} an update"
    say("a generation", f"{counted(plan.samples_per_generation, 'sample')} x {plan.group} = {rollouts}")
    if plan.samples is None or plan.generations_per_epoch is None:
        say("an epoch", f"not known; one generation for each {counted(plan.samples_per_generation, 'sample')}")
    else:
        seen = plan.generations_per_epoch * plan.samples_per_generation
        total = plan.generations_per_epoch * plan.rollouts_per_generation
        rest = f" ({plan.samples - seen} are left over: they do not fill a generation)" if seen < plan.samples else ""
        generations = counted(plan.generations_per_epoch, "generation")
        say("an epoch", f"{generations}, {total:,} rollouts of {plan.samples:,} samples{rest}")
    if plan.updates is not None and plan.rollouts is not None:
        say(
            "the run", f"{plan.epochs:g} epochs, {counted(plan.updates, 'update')}, {counted(plan.rollouts, 'rollout')}"
        )
    if plan.prompt_steps is None:
        say("prompt steps", "none")
    else:
        step = plan.prompt_steps
        about = counted(step.dev_size, "dev sample")
        if plan.generations_per_epoch:
            share = step.rollouts / (plan.generations_per_epoch * plan.rollouts_per_generation)
            about += f", {share:.0%} of an epoch's"
        say("prompt steps", f"{step.count}, each at most {step.rollouts:,} rollouts ({about})")
    say("completions", f"at most {plan.max_completion:,} tokens")
    if plan.generated_tokens is not None and plan.cost is not None:
        cost = f"cost at most {plan.cost:,} forward-equivalent tokens (prompts left out)"
        say("tokens", f"at most {plan.generated_tokens:,} generated; {cost}")
    if plan.memory_gb:
        parts = ", ".join(f"{name} {gb:.1f}" for name, gb in plan.memory_gb)
        engine = f", and vLLM's {plan.engine_share:.0%} of the GPU" if plan.engine_share else ""
        whole = sum(gb for _, gb in plan.memory_gb)
        size = "less than 0.1 GB" if whole < 0.1 else f"about {whole:.1f} GB"
        say("memory", f"{size} a process{f' ({parts})' if whole >= 0.1 else ''}{engine}")
    for note in plan.notes:
        say("note", note)
    return lines
