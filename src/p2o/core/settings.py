"""The settings of the joint loop: one place for their names, meanings and defaults.

`p2o.P2OConfig` (TRL) and the ``p2o`` group of a verl configuration inherit from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from .credit import Distillation
from .evolve.budget import budget
from .evolve.config import Search
from .schedule import Sampling
from .transfer import TemplateWorth
from .withdrawal import Withdrawal


@dataclass
class LoopSettings:
    """What P²O adds to GRPO. Defaults are the paper's, but for ``distillation``."""

    method: str = "p2o"
    """The method against groups without spread: ``p2o``, ``grpo`` (no method; the ledger is still kept, and costs
    are counted), another one of docs/methods.md, or one of your own, ``file.py:Class`` (see docs/architecture.md)."""

    tau: int = 2
    """A sample is hard when at most ``tau - 1`` of its rollouts were solved in the last epoch."""

    hard_min_count: int = 100
    """No templates are evolved when fewer samples than this are hard."""

    evolve_when: Literal["hard", "stuck"] = "hard"
    """When templates are evolved. ``hard`` (paper): whenever so many samples are hard. ``stuck``: not as long as GRPO
    gets on without templates, see `p2o.core.worth`."""

    dev_size: int = 300
    """Size of the dev part of the hard set, on which templates are scored; at most half of the hard set."""

    success_reward: str | None = None
    """Name of the reward that says what *solved* means; the first by default."""

    success_threshold: float = 1.0
    """A rollout is solved when that reward is at least this."""

    withdrawal: Withdrawal = "solved"
    """When a sample loses its templates. ``solved`` (paper): as soon as the sample is no longer hard, under a template
    or not. ``graduated``: as soon as one of its *bare* rollouts is solved. ``smoothed``: when its bare success over the
    last epochs is high; the templates come back when that is low again (see `p2o.core.withdrawal`)."""

    bare_slots: int | None = None
    """Rollouts of a templated group that stay bare: the last slots, with ``smoothed`` random ones, and more of them as
    bare success grows. Default: 0; with ``graduated`` and ``smoothed`` 1."""

    same_template_in_sample: bool = False
    """One template for all slots of a group instead of one draw for each."""

    drop_failed_template_rollout: bool = False
    """Failed templated rollouts get no gradient (they still count in the group's mean and standard deviation)."""

    sampling: Sampling = "uniform"
    """Which samples an epoch draws. ``uniform`` (paper): each once. ``adaptive``: those that learn in every epoch and
    up to twice, mastered and hopeless ones at growing intervals, see `p2o.core.schedule`."""

    scale_steps: bool = False
    """Multiply an optimizer step by the share of the groups with a spread of rewards. Without it Adam moves the weights
    as far for one such group as for all, which erodes what the policy can (see `p2o.core.retention`)."""

    pull: float = 0.0
    """Share of the way back to the starting weights that is taken after each optimizer step (0: none)."""

    distillation: Distillation = "solved"
    """How templated rollouts are trained on the bare prompt, see `p2o.core.credit.Distillation`."""

    ratio_low: float = 0.01
    """Lower bound of π_old(y_t | x) / π_old(y_t | T(x, z))."""

    ratio_high: float = 10.0
    """Upper bound of that ratio."""

    soft_max: float = 10.0
    """Largest weight of a token with ``distillation: soft``."""

    shape_gamma: float = 0.1
    """γ of ``distillation: shape``, and of the methods ``luffy`` and ``scaf_shape``."""

    wide_epochs: int = 2
    """Epochs with templates in which ``distillation: wide_first`` has no lower bound."""

    kl_weight: float = 1.0
    """Weight of the KL term of ``distillation: kl``, and of the methods ``hdpo``, ``sdft`` and ``opsd``."""

    kl_top_k: int = 20
    """Tokens of the teacher's distribution that a KL term keeps at each position."""

    kl_clip: float = 10.0
    """Largest KL of a token in a KL term, in nats."""

    evolve_budget: str = "heavy_4"
    """Rollouts of one evolution: light, medium, heavy, heavy_2, heavy_3, heavy_4, heavy_16, or a number."""

    evolve_parents: int = 16
    """W, the distinct parents of one iteration."""

    evolve_minibatch: int = 3
    """Samples of the train part on which a parent and its child are compared; with ``evolve_search: race`` also the
    number of a template's next rollouts."""

    evolve_search: Search = "minibatch"
    """How new templates are compared. ``minibatch`` (paper, GEPA): with their parent on a few samples, one rollout
    each, strictly better. ``race``: rollouts go where the comparison is undecided, see docs/evolution.md."""

    evolve_patience: int | None = None
    """Stop an evolution when in this many iterations in a row neither the best dev score has grown nor the number of
    dev samples that are solved; they are counted from the first success. Default: never, as in the paper."""

    evolve_temperature: float = 0.0
    """Sampling temperature of an evolution's rollouts (0: greedy, as in the paper)."""

    evolve_max_iterations: int | None = None
    """Stop an evolution after this many iterations, even if its budget is not spent."""

    fill_proposals: bool = False
    """Draw parents more than once while the Pareto front is smaller than W, so that early batches are full."""

    pool: Literal["cover", "proposals"] = "cover"
    """Which templates are kept. ``cover`` (paper): the greedy cover of the dev part. ``proposals``: all that the
    reflector wrote, with equal weights, without regard to their scores (an ablation that shows what selection adds)."""

    template_worth: TemplateWorth = "success"
    """What a template is worth in an evolution, in the cover and in the draws. ``success`` (paper): its rewards.
    ``transfer``: its rewards times what carries over to the bare prompt, measured by one scoring pass on the rollouts
    that earned something (see `p2o.core.transfer`). ``solution``: its rewards; as long as no template has solved
    anything, how likely the samples' solutions are under it, measured by one scoring pass on the failed rollouts (see
    `p2o.core.nearness`; every training sample needs a solution)."""

    warm_start: bool = False
    """Start an evolution from the bare prompt and the templates of the last pool."""

    evolve_beside: bool = False
    """Evolve the next pool in a second process, on the last weights, while the next epoch trains; the pool is used one
    epoch later (see docs/performance.md). For runs of ``p2o train``, on one GPU or CPU and with DDP."""

    max_template_chars: int = 4000
    """Longer templates are refused."""

    reflect_temperature: float | None = None
    """Sampling temperature of the *self* and *policy* reflectors; null is 1.0, and 0.3 for the short prompt."""

    reflect_max_tokens: int = 512
    """Longest reply of the *self* and *policy* reflectors, in tokens."""

    reflect_prompt: Literal["auto", "full", "short"] = "auto"
    """What *self* and *policy* are asked. ``full``: GEPA's question, with all of a minibatch. ``short``: one failed
    rollout after worked examples, and a second time for less where the reply cannot be used. ``auto``: ``short``
    for a chat model on this machine of less than a billion parameters (on verl always ``full``)."""

    reflect_max_prompt_chars: int = 12000
    """The reflection prompt is shortened to this; the middle of long completions is cut out."""

    def check_loop(self, num_generations: int, place: str = "", group_key: str = "num_generations") -> None:
        """Checks the ranges, and fills in the default of ``bare_slots``.

        Args:
            num_generations: K, rollouts of a group.
            place: put before a key's name in a message ("p2o." on verl).
            group_key: the key that sets K.

        Raises:
            ConfigError: a value is out of range, or two values do not fit together.
        """
        check_at_least(self, LEAST, place)
        budget(self.evolve_budget, 1)  # an unknown name is an error now, not after an epoch
        if not 0 < self.ratio_low <= 1 <= self.ratio_high:
            raise ConfigError(
                f"the ratio bounds [{self.ratio_low}, {self.ratio_high}] must hold 1 and be above 0; "
                f"set {place}ratio_low and {place}ratio_high accordingly"
            )
        if num_generations < 2:
            raise ConfigError(f"{group_key} is {num_generations}; a group needs at least 2 rollouts to learn from")
        if self.tau > num_generations:
            raise ConfigError(
                f"{place}tau is {self.tau}, so that even a group of {num_generations} successes would be hard; set it "
                f"to {num_generations} ({group_key}) or less"
            )
        if self.template_worth != "success" and self.pool == "proposals":
            raise ConfigError(
                f"{place}pool is proposals, which keeps all templates whatever they are worth; set "
                f"{place}template_worth to success"
            )
        least = 0 if self.withdrawal == "solved" else 1
        if self.bare_slots is None:
            self.bare_slots = least
        if not least <= self.bare_slots < num_generations:
            raise ConfigError(
                f"{place}bare_slots is {self.bare_slots}; with withdrawal {self.withdrawal} and groups of "
                f"{num_generations} rollouts it must be from {least} to {num_generations - 1}"
            )


LEAST: Sequence[tuple[str, float]] = (
    ("tau", 1), ("hard_min_count", 2), ("dev_size", 1), ("evolve_parents", 1), ("evolve_minibatch", 1),
    ("evolve_temperature", 0),
    ("max_template_chars", 1), ("soft_max", 1), ("wide_epochs", 0), ("kl_top_k", 1), ("kl_weight", 0),
    ("reflect_temperature", 0), ("reflect_max_tokens", 1), ("pull", 0),
)  # fmt: skip
"""Keys of `LoopSettings` and their least values."""


def check_at_least(settings: object, least: Sequence[tuple[str, float]], place: str = "") -> None:
    """Raises ConfigError for the first key that is below its least value."""
    for name, low in least:
        if (value := getattr(settings, name)) is not None and value < low:
            raise ConfigError(f"{place}{name} is {value}; it must be at least {low}")
