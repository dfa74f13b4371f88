"""The end of a run: what GRPO reached stands beside it, where a comparison has it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from p2o.analysis.ending import grpo_reference
from p2o.cli.ending import next_commands
from p2o.cli.screen import next_words
from p2o.core.diagnosis import Finding
from p2o.runs.recipe import load_recipe
from p2o.runs.run_directory import Run


def arm(name: str, mean: float, seeds: int = 3) -> dict[str, Any]:
    return {"name": name, "success": {"mean": mean, "interval": [mean - 0.01, mean + 0.02], "seeds": seeds}}


def comparison(folder: Path, *arms: dict[str, Any], group: str | None = None) -> Path:
    content = {"recipe": "mine", "group": group, "arms": list(arms)}
    (folder / "compare.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_grpo_at_equal_cost_comes_first(tmp_path: Path) -> None:
    comparison(tmp_path, arm("p2o", 0.9), arm("grpo", 0.1, seeds=1), arm("grpo_equal", 0.2), group="hard")
    assert grpo_reference(tmp_path, "mine") == (
        f"GRPO at equal cost reached 20.0 % [19.0, 22.0] on the hard samples of the test data (3 seeds, {tmp_path})"
    )
    comparison(tmp_path, arm("grpo", 0.1, seeds=1))
    line = grpo_reference(tmp_path, "mine")
    assert line == f"GRPO reached 10.0 % [9.0, 12.0] on the test data (one seed, {tmp_path})"


def test_nothing_is_said_without_a_comparison_with_grpo_of_the_same_recipe(tmp_path: Path) -> None:
    assert grpo_reference(tmp_path, "mine") == ""
    comparison(tmp_path, arm("grpo", 0.1))
    assert grpo_reference(tmp_path, "other") == ""
    comparison(tmp_path, arm("p2o", 0.9))
    assert grpo_reference(tmp_path, "mine") == ""


def test_a_damaged_comparison_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "compare.json").write_text("{", encoding="utf-8")
    assert grpo_reference(tmp_path, "mine").startswith("! ")


def test_the_next_commands_set_each_key_once(tmp_path: Path) -> None:
    words = ["quickstart", "--num_train_epochs", "4", "--output_dir=old", "--arms", "{mine: {tau: 1}}", "--tau", "1"]
    recipe = load_recipe(words[0], words[1:])
    finding = Finding("slow", "", "take smaller steps", {"tau": 3})

    def commands(*findings: Finding) -> list[str]:
        return [command for _, command in next_commands(Run(tmp_path), Path("model"), words, recipe, findings)]

    for command in [*commands(), *commands(finding)]:
        keys = [word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")]
        assert len(keys) == len(set(keys)), command
    assert commands()[-1].endswith(f"--tau 1 --output_dir {tmp_path} --resume --num_train_epochs 8")


def test_a_command_after_a_screen_has_options_that_it_takes() -> None:
    train = Finding("cut", "", "leave them more room", {"max_completion_length": 8})
    again = Finding("empty_pool", "", "let it look longer", {"budget": 2000}, screen=True)
    words = ["--tau", "1", "--max_completion_length", "4"]
    assert train.command(next_words(train, "r.yaml", words, 50)) == (
        "p2o train r.yaml --tau 1 --max_completion_length 8 --if_exists new"
    )
    assert again.command(next_words(again, "r.yaml", words, 50)) == (
        "p2o screen r.yaml --tau 1 --max_completion_length 4 --samples 50 --budget 2000"
    )
