"""Evolution beside training on TRL: what a prompt step gives to the second process, and takes from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.cost import CostMeter
from ..core.evolve import Evolution
from ..core.methods import Task
from ..errors import ConfigError
from .config import P2OConfig


@dataclass(frozen=True)
class Wait:
    """A request of rank 0 (`ranks.RankDriver`): nothing. It keeps the other ranks from giving up on a long wait."""


class SecondProcess(Protocol):
    """Evolves on saved weights (`p2o.runs.second_process.SecondProcess`)."""

    def begin(self, task: Task, save: Callable[[Path], None]) -> None:
        """Saves the weights to a folder with ``save``, and starts the evolution."""

    def result(self, number: int, check: Callable[[], None]) -> tuple[Evolution, Mapping[str, float]]:
        """(The evolution for a prompt step, its seconds by phase of the cost); waits for it.

        Args:
            check: called again and again meanwhile; raises to stop.
        """


@dataclass(frozen=True)
class Beside:
    """A prompt step's `p2o.core.methods.Elsewhere`."""

    process: SecondProcess
    save: Callable[[Path], None]
    """Saves the weights of now to a folder."""
    epochs: int
    """Of the whole run."""
    cost: CostMeter
    check: Callable[[], None]
    """Raises to stop."""

    def begin(self, task: Task) -> bool:
        """Begins an evolution, if there is an epoch left in which its pool could be used."""
        if task.number >= self.epochs:
            return False
        self.process.begin(task, self.save)
        return True

    def result(self, number: int) -> Evolution:
        """Waits for an evolution, and adds its seconds to the cost. (Its rollouts and tokens are those of the summary,
        see `p2o.generation.prompt_step.add_replayed`.)"""
        evolution, seconds = self.process.result(number, self.check)
        self.cost["evolve"].add(seconds=seconds["evolve"])
        self.cost["reflect"].add(seconds=seconds["reflect"])
        return evolution


def check_beside(args: P2OConfig, process: SecondProcess | None, held_elsewhere: bool, chats: bool) -> None:
    """Checks that an evolution can run beside this training.

    Args:
        held_elsewhere: FSDP or DeepSpeed hold the weights that are trained.
        chats: whether there is a chat template.

    Raises:
        ConfigError: it cannot.
    """
    if not args.evolve_beside:
        return
    if process is None:
        raise ConfigError(
            "evolve_beside evolves in a second process, which makes the data, the rewards and the reflector anew from "
            "a recipe, and this run was made in Python without one; train with p2o train, or set evolve_beside to False"
        )
    if held_elsewhere:
        raise ConfigError(
            "evolve_beside works on one GPU or CPU and with DDP, where a process holds all weights, not with FSDP or "
            "DeepSpeed; set it to false"
        )
    if not chats:
        raise ConfigError(
            "evolve_beside: the second process reads its prompts with a chat template, and this tokenizer has none; "
            "set chat_template_path, or evolve_beside to false"
        )
