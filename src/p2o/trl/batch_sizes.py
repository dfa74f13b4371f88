"""How much of the training data an epoch uses: TRL leaves out the samples that do not fill a batch of rollouts."""

from __future__ import annotations

from ..errors import ConfigError

SHOWN = 4
"""At most this number of batch sizes is suggested."""


def sizes_that_divide(samples: int, groups: int) -> list[int]:
    """Numbers of groups in a batch that leave out no sample: those nearest to ``groups``, in increasing order."""
    fitting = [n for n in range(1, samples + 1) if samples % n == 0]
    return sorted(sorted(fitting, key=lambda n: abs(n - groups))[:SHOWN])


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
    sizes = ", ".join(f"{n * num_generations}" for n in sizes_that_divide(samples, groups))
    return (
        f"each epoch leaves out {left_out} of the {samples} training samples (others every time, when shuffled), "
        f"because a batch of rollouts holds {groups}; batches of {sizes} rollouts (per_device_train_batch_size x "
        f"processes x steps_per_generation; now {groups * num_generations}) would leave out none"
    )
