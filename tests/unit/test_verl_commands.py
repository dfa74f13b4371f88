"""A verl command in a file: compared, and made a recipe. Without verl."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from p2o.analysis.compare.arms import ARMS
from p2o.analysis.compare.results import trained_result
from p2o.cli.main import main
from p2o.data import load_samples
from p2o.errors import ConfigError
from p2o.rewards import resolve_reward
from p2o.runs.building import rewards_of, samples_of
from p2o.runs.recipe import load_recipe
from p2o.verl.command_file import nested, read_configuration, read_overrides
from p2o.verl.comparison import check_arm, check_validation, compare_on_verl, overrides_of
from p2o.verl.conversion import recipe_settings

REWARD = """
async def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    right = solution_str.strip() == ground_truth and extra_info["index"] >= 0 and data_source == "sandbox"
    return {"score": float(right), "feedback": "Well done." if right else f"It was {ground_truth}."}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A verl user's folder: data, a reward function, and the overrides of a command."""
    from pyarrow import Table, parquet

    monkeypatch.chdir(tmp_path)
    for part, source in (("train", "builtin:sandbox/train"), ("val", "builtin:sandbox/dev")):
        rows = [
            {
                "data_source": "sandbox", "prompt": [dict(m) for m in sample.messages],
                "reward_model": {"style": "rule", "ground_truth": sample.answer}, "extra_info": {"index": n},
            }
            for n, sample in enumerate(load_samples(source)[:16])
        ]  # fmt: skip
        parquet.write_table(Table.from_pylist(rows), tmp_path / f"{part}.parquet")
    (tmp_path / "reward.py").write_text(REWARD)
    words = [
        "data.train_files=train.parquet", "data.val_files=[val.parquet]", "data.max_response_length=24",
        "algorithm.adv_estimator=grpo", "actor_rollout_ref.model.path=builtin:sandbox",
        "actor_rollout_ref.rollout.n=4", "actor_rollout_ref.rollout.temperature=0.9",
        "+data.apply_chat_template_kwargs={enable_thinking: false}",
        "reward.custom_reward_function.path=reward.py", "+p2o.hard_min_count=4", "+p2o.reflector=phrases",
    ]  # fmt: skip
    (tmp_path / "overrides.yaml").write_text(yaml.safe_dump(words))
    return tmp_path


def test_a_configuration_is_read_from_overrides_from_hydra_and_from_a_run(folder: Path) -> None:
    given = read_configuration("overrides.yaml")
    assert given["data"]["val_files"] == ["val.parquet"]
    assert given["p2o"] == {"hard_min_count": 4, "reflector": "phrases"}
    (folder / "config.yaml").write_text(yaml.safe_dump(given))
    assert read_configuration("config.yaml") == given
    own, verls = given.pop("p2o"), given
    (folder / "run.yaml").write_text(yaml.safe_dump({**own, "learning_rate": 1.0, "verl": verls}))
    assert read_configuration("run.yaml") == {**verls, "p2o": own}


@pytest.mark.parametrize(
    ("text", "said"), [("tau: 1", "is no verl configuration"), ("- tau", "is no list of verl overrides"), ("[", "YAML")]
)
def test_another_file_is_no_configuration(folder: Path, text: str, said: str) -> None:
    (folder / "other.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_configuration("other.yaml")


def test_a_verl_configuration_becomes_a_recipe(folder: Path) -> None:
    assert main(["init", "overrides.yaml", "--verl", "-o", "deep/recipe.yaml", "--tau", "1"]) == 0
    recipe = load_recipe("deep/recipe.yaml")
    training = recipe.training
    assert (training.num_generations, training.temperature, training.max_completion_length) == (4, 0.9, 24)
    assert (training.chat_template_kwargs, training.tau) == ({"enable_thinking": False}, 1)
    assert (training.hard_min_count, recipe.task.reflector) == (4, "phrases")
    samples, rewards = samples_of(recipe, "train"), rewards_of(recipe)
    right, wrong = rewards.score([str(samples[0].answer), "x"], [samples[0], samples[0]])
    assert (right.reward, right.solved, wrong.reward) == (1.0, True, 0.0)
    assert f"It was {samples[0].answer}." in wrong.feedback
    assert len(samples_of(recipe, "test")) == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.train_files=[a.parquet,b.parquet]", "actor_rollout_ref.model.path=m"], "names 2 files"),
        (["data.train_files=a.parquet"], "does not say actor_rollout_ref.model.path"),
        (["data.train_files=a", "actor_rollout_ref.model.path=${oc.env:M}"], "which only verl resolves"),
        (["data.train_files=a", "actor_rollout_ref.model.path=m", "+p2o.success_reward=acc"], "p2o.success_reward"),
        (
            [
                "data.train_files=a",
                "actor_rollout_ref.model.path=m",
                "+reward.custom_reward_function.reward_kwargs={a: 1}",
            ],
            "reward_kwargs",
        ),
    ],
)
def test_what_a_recipe_cannot_say_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe_settings(nested(words), "c.yaml")


def test_the_reward_of_a_command_without_one_is_verls_own() -> None:
    settings = recipe_settings(nested(["data.train_files=a", "actor_rollout_ref.model.path=m"]), "c.yaml")
    assert settings["rewards"] == [{"name": "verl.utils.reward_score:default_compute_score", "signature": "verl"}]
    with pytest.raises(Exception, match="a reward function of verl is written"):
        resolve_reward({"name": "last_number", "signature": "verl"})


NOT_ON_VERL = (
    "grpo_steady", "p2o_steady", "p2o_kl", "p2o_transfer", "dapo", "dapo_steady", "zvp", "luffy", "luffy_steady",
    "hdpo", "sdft", "opsd",
    "prompt_only",
)  # fmt: skip


@pytest.mark.parametrize("name", [n for n in ARMS if n not in NOT_ON_VERL])
def test_an_arm_is_a_verl_command(folder: Path, name: str) -> None:
    check_arm(ARMS[name], [*read_overrides("overrides.yaml"), "++trainer.v1.trainer_mode=p2o"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grpo_steady", "p2o.scale_steps is True"),
        ("p2o_steady", "p2o.scale_steps is True"),
        ("p2o_kl", "p2o.distillation=kl"),
        ("p2o_transfer", "p2o.template_worth=transfer"),
        *((name, "acts within a training step") for name in ("dapo", "zvp", "luffy", "hdpo", "sdft", "opsd")),
        ("prompt_only", "trains nothing"),
    ],
)
def test_an_arm_that_verl_cannot_train_is_told_before_anything_runs(folder: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compare_on_verl("overrides.yaml", (), f"grpo,{name}", 1, None, None, 1, None, "out")
    assert not (folder / "out").exists()
    compare = (Path(__file__).parents[2] / "docs" / "verl.md").read_text().split("## Compare, screen")[1]
    assert f"`{name}`" in compare.split("\n\n`p2o screen`")[0]


def test_two_runs_at_a_time_do_not_share_a_ray(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError, match="one run at a time on a Ray"):
        compare_on_verl("overrides.yaml", (), "grpo", 1, None, None, 2, None, "out")


def test_keys_of_an_arm_become_overrides() -> None:
    settings = {
        "method": "my method.py:Mine", "max_cost": 7, "max_rollouts": None, "max_steps": -1, "num_train_epochs": 3,
        "skip_dead_rows": True, "pull": 0.0, "seed": 2, "num_generations": 8,
    }  # fmt: skip
    words = overrides_of(settings)
    assert '++p2o.method="my method.py:Mine"' in words
    assert {"++p2o.max_cost=7", "++trainer.total_epochs=3", "++data.seed=2", "++p2o.seed=2"} <= set(words)
    assert "++actor_rollout_ref.rollout.n=8" in words
    assert not any("pull" in word or "dead" in word or "None" in word or "total_training" in word for word in words)
    with pytest.raises(ConfigError, match="loss_type=grpo cannot be set on verl"):
        overrides_of({"loss_type": "grpo"})


def test_validation_data_must_be_measured_sample_by_sample(folder: Path) -> None:
    config = read_configuration("overrides.yaml")
    assert check_validation(config) == {"sandbox"}
    with pytest.raises(ConfigError, match="repeat an earlier prompt"):
        check_validation({"data": {"val_files": ["val.parquet", "val.parquet"]}})
    with pytest.raises(ConfigError, match=r"val_kwargs\.n is 4"):
        check_validation({**config, "actor_rollout_ref": {"rollout": {"val_kwargs": {"n": 4}}}})
    with pytest.raises(ConfigError, match=r"names no data\.val_files"):
        check_validation({})


FAKE_VERL = """
import sys
from pathlib import Path

from p2o.base.files import write_json

words = dict(word.lstrip("+").split("=", 1) for word in sys.argv[1:] if "=" in word)
own = Path(words["trainer.default_local_dir"]) / "p2o"
own.mkdir(parents=True, exist_ok=True)
phase = {"cost": 10.0, "rollouts": 4, "teacher_tokens": 0, "seconds": 1.0}
cost = {"rollout": phase, "training_cost": int(words.get("p2o.max_cost", 100)), "training_rollouts": 4}
right = words["p2o.method"] == "p2o"
result = {
    "before": {"eval_bare_success": 0.0}, "after": {"eval_bare_success": float(right)},
    "outcomes_before": {"eval": {"a": False, "b": False}}, "outcomes": {"eval": {"a": right, "b": right}},
    "groups": {"eval": {"a": "x", "b": "y"}}, "cost": cost, "seconds": 1.0,
}
(own.parent / "config.yaml").write_text("verl: {data: {}}")
write_json(own / "result.json", result)
write_json(own / "complete.json", {})
"""


def test_a_comparison_on_verl_is_paired_and_at_equal_cost(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = folder / "fake" / "verl" / "trainer"
    package.mkdir(parents=True)
    for place in (package, package.parent):
        (place / "__init__.py").touch()
    (package / "main_ppo.py").write_text(FAKE_VERL)
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))
    command = ["compare", "overrides.yaml", "--engine", "verl", "--seeds", "2", "--out", "out"]
    assert main([*command, "--arms", "grpo,grpo_equal,p2o", "--trainer.total_epochs", "2"]) == 0
    arms = {arm["name"]: arm for arm in json.loads((folder / "out" / "compare.json").read_text())["arms"]}
    assert list(arms) == ["grpo", "grpo_equal", "p2o"]
    assert arms["p2o"]["success"]["mean"] == 1.0
    assert arms["p2o"]["before"] == 0.0
    assert arms["p2o"]["difference"]["mean"] == 1.0
    assert trained_result(folder / "out" / "p2o" / "seed-1", 1, None).outcomes == {"test": {"a": True, "b": True}}
    assert main([*command, "--arms", "grpo"]) == 2
    assert "the overrides differ" in capsys.readouterr().err
