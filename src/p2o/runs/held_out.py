"""The held-out evaluations of a run: the recipe's test data and its data out of the training distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data import to_dataset
from ..trl.evaluation import evaluation_groups
from .building import ood_samples, rewards_of, samples_of, training_samples

if TYPE_CHECKING:
    from ..trl.trainer import P2OTrainer
    from .recipe import Recipe

Outcomes = dict[str, dict[str, bool]]
"""Part ("test", "ood_NAME") → sample id → whether its bare completion was right."""


class HeldOut:
    """The parts of a recipe that are held out, evaluated bare.

    Raises:
        DataError: one cannot be read, is empty, or has an answer that the rewards cannot compare.
    """

    def __init__(self, recipe: Recipe) -> None:
        train = training_samples(recipe) if recipe.task.test or recipe.task.ood else []
        samples = {"test": samples_of(recipe, "test", train)} if recipe.task.test else {}
        samples |= {f"ood_{name}": own for name, own in ood_samples(recipe, train).items()}
        for own in samples.values():
            rewards_of(recipe).check_gold(own)
        self.draws = recipe.task.test_draws
        column = recipe.training.eval_group_column
        self.parts: dict[str, Any] = {part: to_dataset(own) for part, own in samples.items()}
        self.groups: dict[str, dict[str, str]] = {}
        """Part → sample id → value of ``eval_group_column``; empty without one."""
        if column is not None:
            self.groups = {part: {s.id: str(s.columns.get(column)) for s in own} for part, own in samples.items()}

    def evaluate(self, trainer: P2OTrainer) -> tuple[dict[str, float], Outcomes]:
        """(metrics of all parts, outcomes of all samples); collective. Both are empty without held-out data."""
        metrics: dict[str, float] = {}
        outcomes: Outcomes = {}
        for name, dataset in self.parts.items():
            metrics |= trainer.evaluate(dataset, metric_key_prefix=name)
            outcomes[name] = dict(trainer.last_solved)
        return metrics, outcomes

    def draw(self, trainer: P2OTrainer) -> dict[str, dict[str, int]]:
        """Part → sample id → how many of ``test_draws`` bare completions, at the training's temperature, were right;
        collective. Empty when none are to be drawn."""
        solved: dict[str, dict[str, int]] = {}
        for part, dataset in self.parts.items() if self.draws else ():
            trainer.model.eval()
            pairs = [("", row) for row in dataset for _ in range(self.draws)]
            with trainer.cost.timed("evaluate") as spent:
                rollouts = trainer.roll_out(pairs, trainer.args.temperature, f"{self.draws} draws of {part}")
            if trainer.accelerator.is_main_process:
                spent.add_rollouts(rollouts)
            ids, _ = evaluation_groups(dataset, None)
            groups = [rollouts[n : n + self.draws] for n in range(0, len(rollouts), self.draws)]
            drawn = zip(ids, groups, strict=True)
            solved[part] = {i: sum(r.solved for r in own) for i, own in drawn if all(r.fits for r in own)}
        return solved
