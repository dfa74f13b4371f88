"""How much of the training data an epoch uses: TRL leaves out what does not fill a batch of rollouts."""

from __future__ import annotations

from ..errors import ConfigError

SHOWN = 4
"""So many batch sizes are suggested."""


def left_out(samples: int, groups: int) -> int:
    """Samples that an epoch leaves out, with ``groups`` samples in one batch of rollouts."""
    return samples % groups


def sizes_without_rest(samples: int, groups: int) -> list[int]:
    """Numbers of samples in a batch that leave nothing out, those nearest to ``groups`` first."""
    fitting = [n for n in range(1, samples + 1) if samples % n == 0]
    return sorted(sorted(fitting, key=lambda n: abs(n - groups))[:SHOWN])


def coverage_warning(samples: int, groups: int, num_generations: int) -> str | None:
    """What is to be said about an epoch's rest; None when there is none.

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
    rest = left_out(samples, groups)
    if not rest:
        return None
    sizes = ", ".join(f"{n * num_generations}" for n in sizes_without_rest(samples, groups))
    return (
        f"each epoch leaves out {rest} of the {samples} training samples (others every time, when shuffled), because "
        f"a batch of rollouts holds {groups}; batches of {sizes} rollouts (per_device_train_batch_size x processes x "
        f"steps_per_generation; now {groups * num_generations}) would leave out none"
    )
