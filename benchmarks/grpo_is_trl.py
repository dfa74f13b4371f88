"""Is the ``grpo`` arm of a comparison TRL's own GRPOTrainer? Trains both on the quickstart, and compares the weights.

    python benchmarks/grpo_is_trl.py

The arm runs in P2OTrainer, so that its rollouts and tokens are counted as those of the other arms are. Here TRL's class
trains the same recipe untouched, once as it is against the arm with dead rows kept (equal to the bit), once against the
arm as it is compared, with dead rows left out (equal up to rounding, which sampling may amplify to other rollouts).
"""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from p2o.analysis.compare.arms import ARMS, settings_of
from p2o.data import to_dataset
from p2o.generation.models import resolve_model
from p2o.runs.building import rewards_of, samples_of, trainer_of
from p2o.runs.reading import setting_words
from p2o.runs.recipe import Recipe, load_recipe

RESULT = Path(__file__).parent / "results" / "grpo-is-trl.json"


def recipe_of(skip: bool) -> Recipe:
    settings = settings_of(ARMS["grpo"], load_recipe("quickstart"))
    settings |= {
        "skip_dead_rows": skip,
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "output_dir": tempfile.mkdtemp(),
    }
    return load_recipe("quickstart", setting_words(settings))


def trls_weights() -> dict[str, torch.Tensor]:
    """The weights that TRL's own class ends with."""
    from trl import GRPOConfig, GRPOTrainer

    recipe = recipe_of(skip=False)
    given: dict[str, Any] = {
        f.name: getattr(recipe.training, f.name)
        for f in fields(GRPOConfig)
        if f.init and f.name not in ("generation_batch_size", "num_generations_eval")
    }
    trainer = GRPOTrainer(
        model=resolve_model(str(recipe.model.model_name_or_path)),
        reward_funcs=rewards_of(recipe).trl_functions(),
        args=GRPOConfig(**{**given, "model_init_kwargs": {"dtype": recipe.model.dtype}}),
        train_dataset=to_dataset(samples_of(recipe, "train")),
    )
    trainer.train()
    return dict(trainer.model.state_dict())


def arms_weights(skip: bool) -> dict[str, torch.Tensor]:
    trainer = trainer_of(recipe_of(skip))
    trainer.train()
    return dict(trainer.model.state_dict())


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def main() -> None:
    theirs = trls_weights()
    start = dict(trainer_of(recipe_of(skip=False)).model.state_dict())
    content = {
        "command": "python benchmarks/grpo_is_trl.py",
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("p2o-rl", "torch", "transformers", "trl")},
        "largest change of a weight by training": difference(theirs, start),
        "largest difference to TRL, dead rows kept": difference(theirs, arms_weights(skip=False)),
        "largest difference to TRL, dead rows left out": difference(theirs, arms_weights(skip=True)),
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
