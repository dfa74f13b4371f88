"""The end of a run: what it says of success on the test data, what is wrong, and what to do next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from p2o.analysis.ending import grpo_reference, unchanged
from p2o.base.terminal import console
from p2o.cli.ending import next_commands, print_faults
from p2o.cli.screen import next_words
from p2o.core.diagnosis import Finding
from p2o.runs.recipe import Recipe, load_recipe
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

    def commands_after(*findings: Finding) -> list[str]:
        return [command for _, command in next_commands(Run(tmp_path), Path("model"), words, recipe, findings)]

    for command in [*commands_after(), *commands_after(finding)]:
        keys = [word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")]
        assert len(keys) == len(set(keys)), command
    assert commands_after()[-1].endswith(f"--tau 1 --output_dir {tmp_path} --resume --num_train_epochs 8")


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


def result(before: int, after: int, samples: int = 48) -> dict[str, Any]:
    """The first so many of the test samples are solved."""
    return {
        "before": {"test_bare_success": before / samples},
        "after": {"test_bare_success": after / samples},
        "outcomes_before": {"test": {str(n): n < before for n in range(samples)}},
        "outcomes": {"test": {str(n): n < after for n in range(samples)}},
    }


def test_success_that_did_not_change_is_said() -> None:
    assert unchanged(result(23, 23)) == (
        "bare success on the test data did not change beyond chance: 47.9 % before training, 47.9 % after it"
    )
    assert "47.9 % before training, 50.0 % after it" in unchanged(result(23, 24))
    assert unchanged(result(0, 40)) == ""
    assert unchanged(result(48, 48)) == ""  # nothing is left to gain
    assert unchanged({**result(23, 23), "outcomes": {}}) == ""  # not known
    assert unchanged({"before": {}, "after": {}}) == ""


def test_a_group_that_changed_is_a_change() -> None:
    content = result(20, 20)
    content["outcomes"]["test"] = {str(n): 20 <= n < 40 for n in range(48)}
    content["groups"] = {"test": {str(n): "easy" if n < 20 else "hard" for n in range(48)}}
    for part in ("before", "after"):
        content[part] |= {"test_bare_success_easy": 0.5, "test_bare_success_hard": 0.5}
    assert unchanged(content) == ""


def commands(recipe: Recipe, unchanged: bool = False) -> list[str]:
    run = Run(Path("runs/quickstart"))
    return [command for _, command in next_commands(run, Path("m"), ["quickstart"], recipe, [], unchanged)]


def test_after_a_run_that_changed_nothing_training_on_comes_first() -> None:
    recipe = load_recipe("quickstart", [], {})
    assert "--num_train_epochs 8" in commands(recipe, unchanged=True)[0]
    assert len(commands(recipe, unchanged=True)) == 3
    assert [words.split()[1] for words in commands(recipe)] == ["eval", "compare", "train"]


def test_without_test_data_no_comparison_is_proposed() -> None:
    recipe = load_recipe("quickstart", ["--test", "null", "--eval", "null", "--eval_strategy", "no"], {})
    assert [words.split()[1] for words in commands(recipe)] == ["train"]
    with console.capture() as said:
        print_faults(recipe, [Finding("flat", "all groups failed", "look")], "")
    assert said.get() == "! all groups failed\nno test data: success on unseen samples was not measured\n"
    with console.capture() as said:
        print_faults(load_recipe("quickstart", [], {}), [Finding("solved", "done", "stop")], "it did not change")
    assert said.get() == "! it did not change\n"
