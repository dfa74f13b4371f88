"""P2OConfig: TRL's GRPOConfig plus the settings of the joint loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from trl import GRPOConfig

from ..core.evolve.budget import budget
from ..errors import ConfigError
from .dead_rows import LOSS_TYPES


@dataclass
class P2OConfig(GRPOConfig):
    """Everything of [`trl.GRPOConfig`], and below it what P²O adds. Defaults are the paper's.

    Raises:
        ConfigError: a value is out of range, or the batch sizes do not divide.
    """

    method: Literal["p2o", "grpo"] = "p2o"
    """``grpo`` trains as TRL's GRPOTrainer does: the ledger is kept and costs are counted, nothing is evolved."""

    tau: int = 2
    """A sample is hard when at most ``tau - 1`` of its rollouts were solved in the last epoch."""

    hard_min_count: int = 100
    """The prompt step is left out when fewer samples than this are hard."""

    dev_size: int = 300
    """Size of the dev part of the hard set; never more than half of the hard set."""

    success_reward: str | None = None
    """Name of the reward function that says what *solved* means; the first by default."""

    success_threshold: float = 1.0
    """A rollout is solved when that reward is at least this."""

    withdrawal: Literal["solved", "graduated"] = "solved"
    """When a template is withdrawn. ``solved`` (paper): each epoch anew, from that epoch's successes.
    ``graduated``: once a *bare* rollout of the sample was solved."""

    bare_slots: int | None = None
    """Rollouts of a templated group that stay bare (the last slots). Default: 0, with ``graduated`` 1."""

    same_template_in_sample: bool = False
    """One template for all slots of a group instead of one draw for each."""

    drop_failed_template_rollout: bool = False
    """Failed templated rollouts get no loss (they still count in the group's statistics)."""

    distillation: Literal["mask", "soft", "no_mask", "importance", "none"] = "mask"
    """How templated rollouts are trained, see `p2o.core.distill.Distillation`."""

    ratio_low: float = 0.01
    """Lower bound of π_old(y_t | x) / π_old(y_t | T(x, z))."""

    ratio_high: float = 10.0
    """Upper bound of that ratio."""

    soft_max: float = 10.0
    """Largest weight of a token with ``distillation: soft``."""

    skip_dead_rows: bool = True
    """Leave rollouts without advantage out of the forward and backward pass (same loss, same gradient). Off by
    itself with KL, entropy terms, auxiliary losses or dropout."""

    reward_timeout: float = 600.0
    """Stop with an error when one call of a reward function takes this many seconds (0: never). Built-in checks have
    deadlines of their own."""

    evolve_budget: str = "heavy_4"
    """Rollouts of one evolution: light, medium, heavy, heavy_2, heavy_3, heavy_4, heavy_16, or a number."""

    evolve_parents: int = 16
    """W, the distinct parents of one iteration."""

    evolve_minibatch: int = 3
    """Train samples on which a parent and its child are compared."""

    evolve_max_iterations: int | None = None
    """Stop an evolution after this many iterations, whatever the budget says."""

    fill_proposals: bool = False
    """Draw parents again while the Pareto front is smaller than W, so that early batches stay full."""

    pool: Literal["cover", "proposals"] = "cover"
    """Which templates are kept. ``cover`` (paper): the greedy cover of the dev part. ``proposals``: all that the
    reflector wrote, whatever they scored, with equal weights (an ablation: what selection adds)."""

    warm_start: bool = False
    """Begin an evolution with the last pool next to the bare prompt."""

    evolve_temperature: float = 0.0
    """Sampling temperature when candidates are scored (0: greedy, as in the paper)."""

    evolve_batch_size: int = 64
    """Sequences in one `generate` call of evolution and evaluation (transformers generation only)."""

    max_template_chars: int = 4000
    """Longer templates are refused."""

    reflect_temperature: float = 1.0
    """Sampling temperature of the *self* and *policy* reflectors."""

    reflect_max_tokens: int = 512
    """Longest reply of the *self* and *policy* reflectors."""

    reflect_max_prompt_chars: int = 12000
    """The reflection prompt is shortened to this (outputs lose their middle)."""

    eval_temperature: float = 0.0
    """Sampling temperature of evaluations (0: greedy). Evaluations never use templates."""

    eval_group_column: str | None = None
    """Evaluations also report success by the values of this data column."""

    max_cost: float | None = None
    """Stop when training has cost this many forward-equivalent tokens (see `p2o.core.cost`)."""

    max_rollouts: int | None = None
    """Stop when this many rollouts were drawn, those of the evolutions included."""

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_batch_sizes()
        # Evaluations draw one bare completion of each sample.
        self.num_generations_eval: int = self.num_generations_eval or 1
        super().__post_init__()
        if self.bare_slots is None:
            self.bare_slots = 1 if self.withdrawal == "graduated" else 0
        if self.withdrawal == "graduated" and self.bare_slots < 1:
            raise ConfigError("withdrawal: graduated needs at least one bare slot; set bare_slots to 1 or more")
        if self.bare_slots >= self.num_generations:
            raise ConfigError(
                f"bare_slots is {self.bare_slots}, which leaves no templated slot in a group of "
                f"{self.num_generations} rollouts; set it below num_generations"
            )

    def _check_ranges(self) -> None:
        for name, low in [
            ("tau", 1), ("hard_min_count", 2), ("dev_size", 1), ("evolve_parents", 1), ("evolve_minibatch", 1),
            ("evolve_batch_size", 1), ("max_template_chars", 1), ("evolve_temperature", 0), ("eval_temperature", 0),
            ("soft_max", 1), ("learning_rate", 0), ("reward_timeout", 0),
        ]:  # fmt: skip
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        budget(self.evolve_budget, 1)  # an unknown name is to be said now, not after an epoch
        if self.loss_type not in LOSS_TYPES:
            raise ConfigError(f"loss_type is {self.loss_type!r}; choose one of {', '.join(LOSS_TYPES)}")
        if not 0 < self.ratio_low <= 1 <= self.ratio_high:
            raise ConfigError(
                f"the ratio bounds [{self.ratio_low}, {self.ratio_high}] must hold 1 and be above 0; "
                "set ratio_low and ratio_high accordingly"
            )
        if (self.num_generations or 0) < 2:
            raise ConfigError(
                f"num_generations is {self.num_generations}; a group needs at least 2 rollouts to learn from"
            )

    def _check_batch_sizes(self) -> None:
        world = int(os.environ.get("WORLD_SIZE", "1"))
        steps = self.steps_per_generation or self.gradient_accumulation_steps
        rollouts = self.generation_batch_size or self.per_device_train_batch_size * world * steps
        if rollouts % self.num_generations:
            lower = rollouts - rollouts % self.num_generations
            near = " or ".join(str(n) for n in (lower, lower + self.num_generations) if n)
            raise ConfigError(
                f"{rollouts} rollouts are drawn at a time (per_device_train_batch_size "
                f"{self.per_device_train_batch_size} x {world} processes x {steps} steps_per_generation), which "
                f"num_generations {self.num_generations} does not divide; {near} would do"
            )
