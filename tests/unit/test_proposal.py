"""``p2o init``: a recipe for a data file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from p2o.base.yaml_text import yaml_value
from p2o.cli.main import main
from p2o.errors import DataError
from p2o.runs.plan import make_plan
from p2o.runs.proposal import find_columns, propose_reward, propose_training
from p2o.runs.recipe import load_recipe
from p2o.runs.schema import MODELINE, schema_file

SANDBOX = ("--model_name_or_path", "builtin:sandbox")


def rows(count: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {n} + 1?", "answer": n + 1, "level": "easy"} for n in range(count)]


def written(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def proposed(samples: int, group: int = 6) -> dict[str, Any]:
    return {line.key: line.value for line in propose_training(samples, group)}


@pytest.mark.parametrize("model", [(), SANDBOX], ids=["gpu", "sandbox"])
@pytest.mark.parametrize("count", [8, 30, 96, 1000])
def test_the_recipe_passes_a_dry_run_and_evolves(
    count: int,
    model: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data, out = written(Path("own.jsonl"), rows(count)), Path("sub", "own.yaml")
    assert main(["init", str(data), "-o", str(out), *model]) == 0
    assert f"p2o screen {out}" in capsys.readouterr().out
    assert main(["train", str(out), "--dry-run"]) == 0
    plan = make_plan(load_recipe(str(out)))
    assert plan.samples == count
    assert plan.prompt_steps is not None
    assert plan.prompt_steps.count == plan.epochs - 1
    assert plan.updates is not None
    assert plan.updates >= 100
    assert 5 <= plan.epochs <= 20
    text = out.read_text(encoding="utf-8")
    assert "train: ../own.jsonl" in text
    assert "prompt_column: question" in text
    assert text.splitlines()[0] == f"{MODELINE}{schema_file()}"
    fastjsonschema.compile(json.loads(schema_file().read_text()), use_default=False)(yaml_value(text))


@pytest.mark.parametrize("samples", [1, 2, 7, 50, 160, 1000, 5000, 200_000])
def test_what_is_proposed_fits_the_number_of_samples(samples: int) -> None:
    p = proposed(samples)
    batch = p["gradient_accumulation_steps"] * p["per_device_train_batch_size"] // p["num_generations"]
    assert 1 <= batch <= max(1, min(64, samples / 6))
    assert p["hard_min_count"] <= max(2, samples / 4)
    assert p["dev_size"] <= max(1, samples / 3)
    # the bare prompt on the dev part, and a dozen templates
    assert p["evolve_budget"] >= p["dev_size"] + 12 * (p["dev_size"] + 6)


def test_the_papers_size_gets_the_papers_settings() -> None:
    p = proposed(5000)
    assert p["gradient_accumulation_steps"] * p["per_device_train_batch_size"] == 64 * 6
    assert p["dev_size"] == 300
    assert p["hard_min_count"] == pytest.approx(100, abs=2)
    assert p["evolve_budget"] == pytest.approx(11_040, rel=0.25)


def test_many_updates_take_five_epochs_and_few_at_most_twenty() -> None:
    assert [proposed(samples)["num_train_epochs"] for samples in (1, 74, 5000)] == [20, 12, 5]


def test_the_recipe_and_the_plan_count_an_epoch_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = written(tmp_path / "own.jsonl", [*rows(74), *rows(6)]), tmp_path / "own.yaml"
    with pytest.warns(UserWarning, match="left out 6") as said:
        assert main(["init", str(data), "-o", str(out), *SANDBOX]) == 0
    assert len(said) == 1
    in_plan = re.search(r"(\d+)% of an epoch's", capsys.readouterr().out)
    in_recipe = re.search(r"(\d+)% of an epoch's", out.read_text(encoding="utf-8"))
    assert in_plan is not None
    assert in_recipe is not None
    assert in_plan[1] == in_recipe[1]


def test_a_model_that_cannot_write_gets_phrases(tmp_path: Path) -> None:
    data = written(tmp_path / "own.jsonl", rows(96))
    for model, reflector in (("builtin:sandbox", "phrases"), ("builtin:sandbox-rare", "phrases"), ("own/m", "self")):
        out = tmp_path / f"{model.replace(':', '-').replace('/', '-')}.yaml"
        assert main(["init", str(data), "-o", str(out), "--model_name_or_path", model]) == 0
        assert load_recipe(str(out)).task.reflector == reflector
    assert "too small to write" in (tmp_path / "builtin-sandbox.yaml").read_text(encoding="utf-8")


def test_what_the_user_gives_holds(tmp_path: Path) -> None:
    data, out = written(tmp_path / "own.jsonl", rows(96)), tmp_path / "own.yaml"
    test = written(tmp_path / "test.jsonl", [{"question": "What is 1 + 2?", "answer": "3"}])
    given = ["--num_generations", "4", "--rewards", "boxed", "--test", str(test), "--seed", "7"]
    given += ["--system_prompt", 'Two lines:\n# "this" is one']
    assert main(["init", str(data), "-o", str(out), *SANDBOX, *given]) == 0
    recipe = load_recipe(str(out))
    assert (recipe.training.num_generations, recipe.task.rewards, recipe.training.seed) == (4, ["boxed"], 7)
    assert recipe.task.test == str(test)
    assert recipe.task.system_prompt == 'Two lines:\n# "this" is one'
    assert recipe.training.per_device_train_batch_size == 16 * 4


@pytest.mark.parametrize(
    ("answers", "reward"),
    [
        (["7", "-1,200", 3.5], "last_number"),
        (["\\frac{1}{2}", "3"], "math"),
        (["yes", "no"], "exact"),
        ([["7", "7.0"]], "last_number"),
    ],
)
def test_the_reward_fits_the_answers(answers: list[Any], reward: str) -> None:
    assert propose_reward(answers).value == [reward]


@pytest.mark.parametrize(
    ("row", "given", "found"),
    [
        ({"prompt": "x", "question": "y", "answer": "z"}, {}, {"prompt_column": "prompt", "answer_column": "answer"}),
        ({"problem": "x", "solution": "y"}, {}, {"prompt_column": "problem", "answer_column": "solution"}),
        ({"instruction": "x", "output": "y"}, {}, {"prompt_column": "instruction", "answer_column": "output"}),
        ({"prompt": [], "reward_model": {"ground_truth": "1"}}, {}, {"prompt_column": "prompt"}),
        (
            {"a": "x", "b": "y"},
            {"prompt_column": "a", "answer_column": "b"},
            {"prompt_column": "a", "answer_column": "b"},
        ),
    ],
    ids=str,
)
def test_the_columns_are_found(row: dict[str, Any], given: dict[str, Any], found: dict[str, str]) -> None:
    assert find_columns("own.jsonl", [row], given) == found


def test_a_column_that_is_not_found_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"no column named like an answer \(it has prompt, key\).*--answer_column"):
        find_columns("own.jsonl", [{"prompt": "x", "key": "y"}], {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tua", "3"], "did you mean tau?"),
        (["--tau", "x"], "--tau is 'x'"),
        (["--num_generations", "x"], "--num_generations is 'x'"),
        (["-o", "own.txt"], "does not end in .yaml"),
        (["--rewards", "nothing"], "there is no reward 'nothing'"),
    ],
    ids=str,
)
def test_a_wrong_setting_leaves_no_recipe(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "own.jsonl", rows(96))
    assert main(["init", "own.jsonl", *SANDBOX, *words]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.jsonl"]


def test_a_file_without_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(written(tmp_path / "own.jsonl", [])), "-o", str(tmp_path / "own.yaml")]) == 2
    assert "holds no rows" in capsys.readouterr().err


def test_a_recipe_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = written(tmp_path / "own.jsonl", rows(8)), tmp_path / "own.yaml"
    out.write_text("mine")
    assert main(["init", str(data), "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_text() == "mine"
