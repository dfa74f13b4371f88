"""Values of a recipe and of the command line: read by the type of the field, paths from where they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2o.cli.settings import split_words
from p2o.errors import ConfigError
from p2o.runs.reading import parse_words, setting_words, words_without_secrets
from p2o.runs.recipe import Recipe, load_recipe

WORDS = [" Let's", "helper #1. Use tag #2", "007", "12:30:45", "a: b", "[x", "{x}", "[x]", "*", "true", "~", "#1",
         "é\n→", "1e3", "2026-13-45", "no", "&a", "!x", "@", "%", "'", '"', "", "--x"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_text_field_takes_the_word_as_it_stands(word: str) -> None:
    for key in ("prompt_suffix", "system_prompt", "run_name"):  # text, text or null, one of TRL's
        recipe = load_recipe("quickstart", [f"--{key}={word}"])
        assert getattr(recipe.task, key, getattr(recipe.training, key, None)) == word
    assert load_recipe("quickstart", setting_words({"prompt_suffix": word})).task.prompt_suffix == word


@pytest.mark.parametrize("written", ["007", "12:30:45", "2026-01-02", "1e3", "0x10", "1_000", "'a: b'", "'no'"])
def test_a_text_field_of_a_file_takes_what_is_written(written: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"base: quickstart\nrun_name: {written}\nreflector_phrases: [{written}]\n")
    recipe = load_recipe(str(file))
    assert recipe.training.run_name == written.strip("'")
    assert recipe.task.reflector_phrases == [written.strip("'")]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("1e3", "max_rollouts", 1000), ("010", "tau", 10), ("null", "max_rollouts", None), ("2", "max_cost", 2.0),
        ("1e-6", "learning_rate", 1e-6), ("yes", "bf16", True), ("null", "system_prompt", None),
        ("900", "evolve_budget", "900"),
        ("q_proj", "lora_modules_to_save", ["q_proj"]), ("[a, 007]", "lora_target_modules", ["a", "007"]),
        ("boxed", "rewards", ["boxed"]), ("0.5", "reward_weights", [0.5]), ("a b", "reflector_phrases", ["a b"]),
        ("{name: x, pattern: y}", "rewards", [{"name": "x", "pattern": "y"}]), ("{a: 007}", "ood", {"a": "007"}),
        ("{top_k: 3}", "generation_kwargs", {"top_k": 3}), ("x", "report_to", ["x"]),
    ],
)  # fmt: skip
def test_other_fields_take_what_yaml_makes_of_it(word: str, key: str, value: Any, tmp_path: Path) -> None:
    found = [load_recipe("quickstart", [f"--{key}", word, "--num_generations", "12"])]
    (tmp_path / "r.yaml").write_text(f"base: quickstart\nnum_generations: 12\n{key}: {word}\n")
    if value != {"a": "007"}:  # a name of a file in the recipe's folder
        found.append(load_recipe(str(tmp_path / "r.yaml")))
    for recipe in found:
        parts = [part for part in (recipe.task, recipe.training, recipe.model) if hasattr(part, key)]
        assert [getattr(part, key) for part in parts] == [value] * len(parts) != []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max_steps", "12:30"], "--max_steps is '12:30' on the command line; it must be a whole number"),
        (["--learning_rate", "nan"], "--learning_rate is 'nan'"),
        (["--learning_rate", "inf"], "--learning_rate is 'inf'"),
        (["--seed", "9" * 50], "--seed is '999"),
        (["--reward_weights", "[a]"], "it must be a list (a number each) or null"),
        (["--lora_target_modules", "[a, b"], "it must be a list (text each) or null"),
        (["--generation_kwargs", "abc"], "--generation_kwargs is 'abc'"),
        (["--output_dir"], "--output_dir needs a value"),
        (["--withdrawal", "now"], "one of solved, graduated"),
        (["--arms", "{x: 1}"], "--arms is '{x: 1}'"),
        (["--arms", "{x: {taau: 1}}"], "unknown key 'taau' in the arm 'x' of quickstart (did you mean tau"),
        (["--taau", "1"], "unknown setting --taau on the command line (did you mean --tau"),
        (["--resum"], "unknown setting --resum on the command line (did you mean --resume"),
        (["tau"], "unexpected argument 'tau'"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_said_of_it(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("quickstart", words, ["--resume", "--dry-run"])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("taau: 1", "unknown key 'taau' in FILE (did you mean tau"),
        ("tau: 1\ntau: 2", "FILE is not valid YAML: the key 'tau' occurs in it twice"),
        ("ood: {a: x, a: y}", "the key 'a' occurs in it twice"),
        ("tau: one", "tau is 'one' in FILE; it must be a whole number"),
        ("system_prompt: false", "system_prompt is 'false' in FILE; it must be text or null; put it in quotes"),
        ("prompt_prefix: null", "it must be text"),
        ("seed: 12:30", "seed is '12:30' in FILE"),
        ("base: 3", "there is no recipe '3'"),
        ("base: [a]", "base is ['a'] in FILE"),
        ("base: none.yaml", "there is no recipe file FOLDER/none.yaml"),
        ("a: " + "[" * 5000, "FILE is not valid YAML"),
        ("reflector_base_url: http://***@host/v1", "in place of a secret"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_of_it(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text if text.startswith("base") else f"base: quickstart\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(file))
    assert said in str(caught.value).replace(str(file), "FILE").replace(str(tmp_path), "FOLDER")


def test_options_and_settings_are_told_apart() -> None:
    words = [
        "train",
        "--tau",
        "1",
        "--use_peft",
        "--resume",
        "r.yaml",
        "--top_k",
        "-1",
        "--prompt_suffix=--x",
        "--dry_run",
    ]
    own, settings = split_words(words, ["--resume", "--dry-run"])
    assert own == ["train", "--resume", "r.yaml", "--dry-run"]
    given = parse_words(settings)
    assert {key: one.text for key, one in given.items()} == {
        "tau": "1", "use_peft": None, "top_k": "-1", "prompt_suffix": "--x",
    }  # fmt: skip


PATHS = {
    "train": "rows.jsonl", "eval": "./rows.jsonl", "test": "sub/rows.parquet", "ood": {"far": "../rows.json"},
    "rewards": ["boxed", "score.py:f", {"name": "score.py:g"}], "reflector": "./write.py:f",
    "model_name_or_path": "./model",
    "arms": {"taught": {"reflector": "teach.py:f", "train": "other.jsonl"}},
}  # fmt: skip
NO_PATHS = {
    "train": "owner/name", "eval": "reasoning_gym:chain_sum?size=9&x=a/b.json", "test": "builtin:sandbox/test",
    "rewards": ["boxed", "package.module:f", "trl:accuracy_reward"], "reflector": "package.module:f",
    "model_name_or_path": "Qwen/Qwen3-4B",
}  # fmt: skip


def written(recipe: Recipe, folder: Path = Path()) -> dict[str, Any]:
    content = yaml.safe_load(recipe.to_yaml(folder))
    return {key: content[key] for key in PATHS if key in content}


def test_relative_paths_begin_in_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("exp")
    folder.mkdir()
    (folder / "base.yaml").write_text(yaml.safe_dump(PATHS))
    (folder / "r.yaml").write_text("base: base.yaml\n")
    recipe = load_recipe("exp/r.yaml")
    assert written(recipe) == {
        "train": "exp/rows.jsonl", "eval": "exp/rows.jsonl", "test": "exp/sub/rows.parquet",
        "ood": {"far": "rows.json"},
        "rewards": ["boxed", "exp/score.py:f", {"name": "exp/score.py:g"}], "reflector": "exp/write.py:f",
        "model_name_or_path": "./exp/model",
        "arms": {"taught": {"reflector": "exp/teach.py:f", "train": "exp/other.jsonl"}},
    }  # fmt: skip
    # The resolved recipe is one too, wherever it stands; and from another place it is the same.
    run = Path("runs/deep")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(recipe.to_yaml(run))
    again = written(load_recipe("runs/deep/config.yaml"))
    assert again["train"] == "exp/rows.jsonl"
    assert again["model_name_or_path"] == "./exp/model"
    monkeypatch.chdir(folder)
    assert written(load_recipe("../runs/deep/config.yaml"))["train"] == "rows.jsonl"
    on_line = load_recipe("r.yaml", ["--train", "mine.jsonl", "--reflector", "mine.py:f"])
    assert (on_line.task.train, on_line.task.reflector) == ("mine.jsonl", "mine.py:f")
    (tmp_path / "exp" / "no.yaml").write_text(yaml.safe_dump(NO_PATHS))
    names = written(load_recipe("no.yaml"))
    assert {key: names[key] for key in NO_PATHS} == NO_PATHS
    absolute = load_recipe("r.yaml", ["--train", str(tmp_path / "x.jsonl"), "--model_name_or_path", "~/model"])
    assert (absolute.task.train, absolute.model.model_name_or_path) == (str(tmp_path / "x.jsonl"), "~/model")


def test_a_folder_beside_the_recipe_comes_before_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("exp/data/rows").mkdir(parents=True)
    Path("exp/r.yaml").write_text("train: data/rows\nmodel_name_or_path: data/model\n")
    recipe = load_recipe("exp/r.yaml")
    assert recipe.task.train == "exp/data/rows"
    assert recipe.model.model_name_or_path == "data/model"


def test_the_words_of_a_command_without_secrets() -> None:
    words = ["--hub_token", "s1", "--hub-token=s2", "--tau", "1", "--reflector_base_url=http://u:s3@h/?k=s4"]
    assert words_without_secrets(words) == [
        "--hub_token", "***", "--hub-token=***", "--tau", "1", "--reflector_base_url=http://***@h/?k=***",
    ]  # fmt: skip


def test_secrets_are_not_written_down() -> None:
    url = "http://user:hunter2@host:8000/v1?api-key=hunter2&x=hunter2"
    init = {"token": "hunter2", "use_safetensors": True}
    urls = {"reflector_base_url": url, "policy_base_url": url, "vllm_server_base_url": url}
    recipe = load_recipe("quickstart", setting_words({**urls, "hub_token": "hunter2", "model_init_kwargs": init}))
    assert recipe.task.reflector_base_url == url
    text = recipe.to_yaml()
    assert "hunter2" not in text
    content = yaml.safe_load(text)
    assert content["reflector_base_url"] == "http://***@host:8000/v1?api-key=***&x=***"
    assert content["model_init_kwargs"] == {"use_safetensors": True}
    assert json.dumps(content).count("***") == 9
