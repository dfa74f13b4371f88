"""The held-out evaluations of a run: the recipe's test data and its data out of the training distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data import to_dataset
from .building import ood_samples, samples_of

if TYPE_CHECKING:
    from ..trl.trainer import P2OTrainer
    from .recipe import Recipe

Outcomes = dict[str, dict[str, bool]]
"""Part ("test", "ood_NAME") → sample id → whether its bare completion was right."""


class HeldOut:
    """The parts of a recipe that are held out, evaluated bare."""

    def __init__(self, recipe: Recipe) -> None:
        self.parts: dict[str, Any] = {}
        if recipe.task.test:
            self.parts["test"] = to_dataset(samples_of(recipe, "test"))
        self.parts |= {f"ood_{name}": to_dataset(samples) for name, samples in ood_samples(recipe).items()}

    def evaluate(self, trainer: P2OTrainer) -> tuple[dict[str, float], Outcomes]:
        """(metrics of all parts, outcomes of all samples); collective. Both are empty without held-out data."""
        metrics: dict[str, float] = {}
        outcomes: Outcomes = {}
        for name, dataset in self.parts.items():
            metrics |= trainer.evaluate(dataset, metric_key_prefix=name)
            outcomes[name] = dict(trainer.last_solved)
        return metrics, outcomes
