"""P2OConfig: TRL's GRPOConfig plus the settings of the joint loop."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

from trl import GRPOConfig

from ..core.methods import load_method
from ..core.settings import LoopSettings, check_at_least
from ..errors import ConfigError
from .dead_rows import LOSS_TYPES

OWN_FIGURES = ("bare_success", "reward", "completion_length", "no_room")
"""Prefixes of the names of our own evaluation figures; other names are TRL's."""


@dataclass
class P2OConfig(LoopSettings, GRPOConfig):
    """All settings of [`trl.GRPOConfig`] and of `p2o.core.settings.LoopSettings`; the settings below are for the TRL
    trainer only. Defaults are the paper's.

    Raises:
        ConfigError: a value is out of range, or the batch sizes do not divide.
    """

    chat_template_path: str | None = None
    """A tokenizer (folder or hub name) or a ``.jinja`` file with a chat template, for a base model that has none."""

    skip_dead_rows: bool = True
    """Leave rollouts without advantage out of the forward and backward pass (same loss, same gradient). TRL's figures
    of the pass (``entropy``, ``clip_ratio/…``) are then averages over the other rollouts. It is turned off
    automatically with KL, entropy terms, auxiliary losses or dropout."""

    share_prompts: bool = False
    """Compute the prompt of a group once for all its rollouts, and take finished rollouts out of the batch
    (transformers generation only; vLLM does both itself). The rollouts are distributed like TRL's, but they are not
    the same ones; without it, a step without templates equals TRL's to the bit. Rollouts under templates are always
    drawn so."""

    reward_timeout: float = 600.0
    """Stop with an error when one call of a reward function takes this many seconds (0: never). Built-in rewards have
    their own deadlines."""

    tool_timeout: float = 60.0
    """Seconds for one call of a tool or of an environment's ``reset`` (0: no limit). A tool that takes longer has
    failed, and the policy reads so."""

    evolve_batch_size: int = 64
    """Sequences in one `generate` call of evolution and evaluation (transformers generation only)."""

    evolve_device: str | None = None
    """The GPU of the second process of ``evolve_beside``, as ``CUDA_VISIBLE_DEVICES`` names it ("1"). Default: the
    first one that the training sees."""

    eval_temperature: float = 0.0
    """Sampling temperature of evaluations (0: greedy). Evaluations never use templates."""

    eval_group_column: str | None = None
    """Evaluations also report success separately for each value of this data column."""

    eval_sampled: bool = False
    """Evaluate as TRL does too: groups of ``num_generations_eval`` rollouts at the training temperature, with
    ``eval_loss``. It is turned on automatically when ``num_generations_eval`` is set, when
    ``metric_for_best_model`` is one of TRL's figures, and with a plain GRPOConfig."""

    max_cost: float | None = None
    """Stop when training has cost this many forward-equivalent tokens (see `p2o.core.cost`)."""

    max_rollouts: int | None = None
    """Stop when this many rollouts were drawn, those of the evolutions included."""

    verbose: bool = False
    """Show all figures of each row of the log, not only the main ones."""

    def __post_init__(self) -> None:
        self._take_old_names()
        self._check_ranges()
        load_method(self.method)  # a wrong name is an error now, not when a trainer is made
        self.check_loop(self.num_generations or 0)
        self._check_batch_sizes()
        own: Any = self
        best_is_kept = own.load_best_model_at_end or getattr(own.save_strategy, "value", own.save_strategy) == "best"
        if best_is_kept and own.metric_for_best_model is None:
            own.metric_for_best_model = "bare_success"
        asked = own.num_generations_eval
        self.eval_sampled = self.eval_sampled or asked is not None or best_is_trls(own.metric_for_best_model)
        if not self.eval_sampled:
            own.num_generations_eval = (
                1  # TRL checks that it divides the evaluation's batch, although that batch is not used then
            )
        super().__post_init__()
        own.num_generations_eval = asked

    def _take_old_names(self) -> None:
        """Writes TRL's ``gradient_checkpointing`` under transformers' newer name, which else warns of the old one."""
        own: Any = self
        for part in ("", "_kwargs"):
            if getattr(own, f"activation_checkpointing{part}", "not known") is None:
                setattr(own, f"activation_checkpointing{part}", getattr(own, f"gradient_checkpointing{part}"))

    def _check_ranges(self) -> None:
        check_at_least(self, LEAST)
        if self.evolve_device is not None and self.use_cpu:
            raise ConfigError(
                f"evolve_device is {self.evolve_device!r}, the GPU of evolve_beside's second process, and use_cpu is "
                "true; leave one of them out"
            )
        if self.loss_type not in LOSS_TYPES:
            raise ConfigError(f"loss_type is {self.loss_type!r}; choose one of {', '.join(LOSS_TYPES)}")

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


LEAST = (
    ("evolve_batch_size", 1), ("eval_temperature", 0), ("learning_rate", 0),
    ("reward_timeout", 0), ("tool_timeout", 0),
)  # fmt: skip
"""Keys of `P2OConfig` and their least values."""


def best_is_trls(metric: str | None) -> bool:
    """Whether the best checkpoint is chosen by a figure of TRL's evaluation, not of ours."""
    name = (metric or "bare_success").removeprefix("eval_")
    return not any(name.startswith(own) or f"_{own}" in name for own in OWN_FIGURES)


def p2o_config(args: GRPOConfig | None) -> P2OConfig:
    """A configuration for P2OTrainer. A plain GRPOConfig gets P²O's defaults; None gives the defaults of both.

    Who passes TRL's own configuration gets TRL's own evaluation too (``eval_sampled``).
    """
    if isinstance(args, P2OConfig):
        return args
    if args is None:
        return P2OConfig("p2o-run")
    values: dict[str, Any] = {f.name: getattr(args, f.name) for f in fields(args) if f.init}
    values.pop("generation_batch_size")  # TRL derives it from steps_per_generation, and refuses both
    return P2OConfig(**values, eval_sampled=True)
