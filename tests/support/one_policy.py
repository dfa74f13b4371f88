"""Whether training's evaluation, `eval`, `evolve` and `screen` have the same successes of one policy."""

from __future__ import annotations

import json
from pathlib import Path

from p2o.cli.main import main
from p2o.data import to_dataset
from p2o.runs.building import samples_of, trainer_of
from p2o.runs.recipe import load_recipe


def share_in_all_commands(model: str, options: list[str], folder: Path) -> tuple[float, float]:
    """(share of samples that the policy solves, share of those whose groups all failed in the screen), after all four
    commands agreed on each sample.

    Args:
        options: the recipe, and keys with their values; its output_dir is ``folder / "out"``.
    """
    recipe = load_recipe(options[0], options[1:])
    trainer = trainer_of(recipe)
    trainer.evaluate(to_dataset(samples_of(recipe, "test")))
    solved = trainer.last_solved
    share = sum(solved.values()) / len(solved)

    assert main(["eval", model, *options, "--out", str(folder / "eval.json")]) == 0
    evaluated = json.loads((folder / "eval.json").read_text())["bare"]
    assert {i: bool(s) for i, s in evaluated["per_sample"].items()} == solved
    assert evaluated["mean"] == share

    assert main(["evolve", *options]) == 0  # candidates are scored greedily: the empty seed is the bare prompt
    evolution = json.loads((folder / "out" / "p2o" / "evolution-001" / "evolution.json").read_text())
    bare = evolution["solved_CV"][evolution["templates"].index("")]
    assert dict(zip(evolution["dev_ids"], bare, strict=True)) == {i: solved[i] for i in evolution["dev_ids"]}

    cold = ["--temperature", "0.01"]  # as good as greedy, so that the screen's groups say the same
    assert main(["screen", *options, *cold, "--out", str(folder / "screen.json")]) == 0
    outcomes = json.loads((folder / "screen.json").read_text())["screen"]["outcomes"]
    assert outcomes["all_solved"]["share"] == share
    return share, outcomes["all_failed"]["share"]
