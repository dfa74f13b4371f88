"""How much of the training data an epoch uses: TRL leaves out the samples that do not fill a batch of rollouts."""

from __future__ import annotations

from ..base.text import counted
from ..errors import ConfigError

FARTHEST = 2
"""A batch that is this number of times larger or smaller is no longer suggested: it would train another way."""


def size_that_divides(samples: int, groups: int) -> int | None:
    """The number of groups in a batch that leaves out no sample and is nearest to ``groups``; None if all are far."""
    fitting = [n for n in range(1, samples + 1) if samples % n == 0 and groups <= FARTHEST * n <= FARTHEST**2 * groups]
    return min(fitting, key=lambda n: abs(n - groups), default=None)


def left_out_warning(samples: int, groups: int, num_generations: int) -> str | None:
    """A sentence that says how many samples an epoch leaves out; None when it leaves out none.

    Args:
        samples: size of the training data.
        groups: samples in one batch of rollouts (over all processes).
        num_generations: K, the rollouts of each.

    Raises:
        ConfigError: the data does not fill one batch.
    """
    if samples < groups:
        raise ConfigError(
            f"one batch of rollouts holds {groups} samples ({groups * num_generations} rollouts, num_generations "
            f"{num_generations}), and the training data has {samples}; lower per_device_train_batch_size, "
            "gradient_accumulation_steps or steps_per_generation, or take more data"
        )
    left_out = samples % groups
    if not left_out:
        return None
    size = size_that_divides(samples, groups)
    remedy = (
        "no batch size near it uses all"
        if size is None
        else f"a batch of {size} samples (per_device_train_batch_size x processes x steps_per_generation = "
        f"{size * num_generations}, now {groups * num_generations}) uses all"
    )
    return (
        f"{left_out} of {samples} training samples are left out of each epoch (when shuffled, other ones every time), "
        f"because one batch of rollouts holds {counted(groups, 'sample')}; {remedy}"
    )
