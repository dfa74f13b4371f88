"""The keys of a recipe (``p2o keys``, docs/keys.md, the schema for editors) and the list of recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from trl import ModelConfig

from p2o import P2OConfig
from p2o.base.yaml_text import yaml_value
from p2o.cli.keys import lines_of
from p2o.cli.main import main, make_parser
from p2o.errors import ConfigError
from p2o.runs.checks import NO_EFFECT
from p2o.runs.keys import Key, keys_page, recipe_keys
from p2o.runs.reading import header_of, recipes_folder, shipped_recipes
from p2o.runs.recipe import RecipeConfig, load_recipe
from p2o.runs.schema import MODELINE, SCHEMA_COMMAND, recipe_schema, schema_file

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"
KEYS = recipe_keys()
BY_NAME = {key.name: key for key in KEYS}


def test_every_field_is_a_key_with_a_sentence() -> None:
    named = {f.name for part in (RecipeConfig, P2OConfig, ModelConfig) for f in fields(part) if f.init}
    assert len(KEYS) == len(BY_NAME)
    assert BY_NAME.keys() == named | {"base"}
    assert [k.name for k in KEYS if len(k.sentence.split()) < 3 and k.origin in ("task", "P2O")] == []
    assert [k.name for k in KEYS if not k.sentence.strip(" .")] == []


def test_a_key_without_effect_says_so() -> None:
    assert [name for name in NO_EFFECT if not BY_NAME[name].sentence.startswith("Has no effect here: ")] == []


@pytest.mark.parametrize(
    ("name", "origin", "type_", "default"),
    [
        ("base", "task", "text or null", "null"),
        ("train", "task", "text", '""'),
        ("rewards", "task", "a list", '["math"]'),
        ("reflector", "task", "text", "self"),
        ("tau", "P2O", "a whole number", "2"),
        ("skip_dead_rows", "P2O", "true or false", "true"),
        ("learning_rate", "TRL", "a number", "1e-06"),
        ("output_dir", "TRL", "text or null", "runs/NAME"),
        ("lora_r", "model", "a whole number", "16"),
    ],
)
def test_origin_type_and_default(name: str, origin: str, type_: str, default: str) -> None:
    key = BY_NAME[name]
    assert (key.origin, key.type, key.default_text) == (origin, type_, default)


def test_the_defaults_are_those_of_a_recipe(tmp_path: Path) -> None:
    """What the list calls the default is what a recipe without the key gets."""
    (tmp_path / "NAME.yaml").write_text("train: builtin:sandbox/train\nuse_cpu: true\nbf16: false\n")
    recipe = load_recipe(str(tmp_path / "NAME.yaml"))
    # Filled in by TRL, transformers or the loop from other keys
    derived = {"train", "use_cpu", "bf16", "bare_slots", "generation_batch_size", "steps_per_generation", "report_to",
               "disable_tqdm", "activation_checkpointing", "gradient_checkpointing", "pad_to_multiple_of",
               "dataloader_pin_memory"}  # fmt: skip
    parts = (recipe.task, recipe.training, recipe.model)
    found = {f.name: getattr(part, f.name) for part in parts for f in fields(part) if f.init}
    differ = [n for n, k in BY_NAME.items() if n in found and n not in derived and not _same(found[n], k.default)]
    assert differ == []


def _same(value: Any, default: Any) -> bool:
    value = getattr(value, "value", value)
    empty = (None, "", [], {})
    return value == default or (value in empty and default in empty) or hasattr(value, "to_dict")


def test_a_sentence_ends_where_a_sentence_ends() -> None:
    def sentence(text: str) -> str:
        return Key("x", "P2O", int, 1, text).sentence

    assert sentence("First one. Second one.") == "First one."
    assert sentence("A value, e.g. A or 0.5, or i.e. B. Then more.") == "A value, e.g. A or 0.5, or i.e. B."


def test_a_text_holds_what_it_refers_to() -> None:
    text = BY_NAME["distillation"].text
    assert "p2o.core.credit" not in text
    assert "`none` gradient on T(x, z)" in text
    assert BY_NAME["distillation"].sentence.startswith("How templated rollouts are trained on the bare prompt")


# --- p2o keys --------------------------------------------------------------------------------------------------------


def test_the_command_searches_names_and_meanings() -> None:
    assert any(line.startswith("  hard_min_count: 100 ") for line in lines_of(KEYS, "hard-min"))
    assert any(line.startswith("  evolve_budget: ") for line in lines_of(KEYS, "Rollouts of one evolution"))
    withdrawal = "\n".join(lines_of(KEYS, "--withdrawal"))
    assert "one of solved, graduated" in withdrawal
    assert "as soon as one of its *bare* rollouts is solved" in withdrawal  # the whole text, not its first sentence


def test_an_unknown_word_names_the_nearest_key() -> None:
    with pytest.raises(ConfigError, match=r"hard_mincount.*did you mean hard_min_count"):
        lines_of(KEYS, "hard_mincount")


def test_the_trackers_are_found_by_their_names() -> None:
    for word in ("tensorboard", "wandb", "trackio"):
        assert any(line.startswith("  report_to: none ") for line in lines_of(KEYS, word)), word
    assert "tensorboard" in BY_NAME["report_to"].sentence


def test_without_a_word_the_groups_and_the_ways_to_search_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 12
    counts = [int(line.split()[1]) for line in out.splitlines() if line.startswith("  ")]
    assert (len(counts), sum(counts)) == (4, len(KEYS))
    assert "p2o keys WORD" in out
    assert main(["keys", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 2 * len(KEYS)


def test_a_misspelt_command_or_recipe_file_names_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(*words: str) -> str:
        assert main(words) == 2
        return capsys.readouterr().err

    assert said("sreen") == "p2o: there is no command 'sreen' (did you mean screen?)\n"
    assert "(there are init, train, compare" in said("xyz")
    assert (
        said("screen", "mien.yaml") == "p2o: there is no recipe file mien.yaml; make one: p2o init DATA -o mien.yaml\n"
    )
    (tmp_path / "mine.yaml").touch()
    assert said("train", "mien.yaml") == "p2o: there is no recipe file mien.yaml (did you mean mine.yaml?)\n"
    assert "did you mean mine.yaml?" in said("train", "mine")


def test_help_points_to_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, commands = make_parser()
    for name in commands.choices:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "p2o keys [WORD]" in capsys.readouterr().out, name


# --- the page and the schema -----------------------------------------------------------------------------------------


def test_the_page_is_what_its_command_makes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == keys_page(KEYS), f"run {text.split('`')[1]}"


def test_the_schema_is_what_its_command_makes() -> None:
    assert json.loads(schema_file().read_text()) == recipe_schema(KEYS), f"run {SCHEMA_COMMAND}"


@pytest.fixture(scope="module")
def valid() -> Callable[[Any], Any]:
    return fastjsonschema.compile(json.loads(schema_file().read_text()), use_default=False)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_fit_the_schema_and_name_it(name: str, valid: Callable[[Any], Any]) -> None:
    path = recipes_folder() / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    valid(yaml_value(text))
    first = text.splitlines()[0]
    assert first.startswith(MODELINE)
    assert (path.parent / first.removeprefix(MODELINE)).resolve() == schema_file().resolve()


@pytest.mark.parametrize(
    "content",
    [
        {"tua": 2},
        {"tau": "two"},
        {"tau": 0},
        {"temperature": 1000},
        {"withdrawal": "never"},
        {"use_cpu": "yes please"},
        {"ood": "data.jsonl"},
        {"lr_scheduler_type": []},
    ],
    ids=str,
)
def test_the_schema_marks_mistakes(content: dict[str, Any], valid: Callable[[Any], Any]) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        valid(content)


@pytest.mark.parametrize(
    "content",
    [
        {"evolve_budget": 900},
        {"evolve_budget": "heavy"},
        {"lora_target_modules": "all-linear"},
        {"lora_target_modules": ["q_proj"]},
        {"rewards": ["boxed", {"name": "x", "pattern": "(.*)"}]},
        {"bare_slots": None, "learning_rate": 1.0e-6, "num_train_epochs": 2},
        {"arms": {"mine": {"tau": 1}}, "ood": {"other": "x.jsonl"}},
    ],
    ids=str,
)
def test_the_schema_takes_what_a_recipe_takes(content: dict[str, Any], valid: Callable[[Any], Any]) -> None:
    valid(content)


# --- p2o recipes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_says_what_it_is(name: str) -> None:
    header = header_of(name)
    assert header.description.endswith(".")
    assert len(header.description) < 120
    assert header.hardware != "not known"
    assert header.time != "not known"


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in shipped_recipes()] == shipped_recipes()
    assert lines[0] == "quickstart"
    assert lines[2].strip() == "two CPU cores; 1 to 3 minutes"


def test_the_list_is_quick_to_ask_for() -> None:
    """The list of recipes needs no TRL."""
    code = "import sys; from p2o.cli.main import main; main(['recipes']); sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
