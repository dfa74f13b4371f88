"""The dry run: every shipped recipe loads anywhere, and the plan's counts are the trainer's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2o.cli.main import main
from p2o.errors import ConfigError
from p2o.runs.machine import check_machine
from p2o.runs.memory import memory, model_shape
from p2o.runs.plan import Plan, make_plan, plan_lines
from p2o.runs.reading import shipped_recipes
from p2o.runs.recipe import Recipe, load_recipe

PAPER = [name for name in shipped_recipes() if name.startswith("paper/")]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Overrides that put 5,000 local rows in the place of the paper's."""
    rows = "".join(json.dumps({"id": str(i), "prompt": f"Q{i}", "answer": "1"}) + "\n" for i in range(5000))
    path = tmp_path / "rows.jsonl"
    path.write_text(rows)
    return ["--train", str(path), "--eval", str(path), "--test", str(path)]


def plan(name: str, *overrides: str) -> Plan:
    return make_plan(load_recipe(name, overrides))


def test_the_paper_is_there_by_name() -> None:
    runs = {f"paper/{d}_{kind}" for d in ("deepscaler_5k", "deepmath_5k", "deepmath_10k")
            for kind in ("self", "teacher", "grpo", "grpo_x2")}  # fmt: skip
    assert set(PAPER) == runs | {"paper/one_gpu_24gb", "paper/one_gpu_80gb"}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_loads_without_a_gpu_and_prints_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(name)
    text = recipe.to_yaml()
    monkeypatch.chdir(tmp_path)
    Path("again.yaml").write_text(text)
    assert load_recipe("again.yaml").to_yaml() == text
    assert recipe.training.use_cpu == (not name.startswith("paper/") and bool(yaml.safe_load(text).get("use_cpu")))


def test_the_papers_numbers() -> None:
    recipe = load_recipe("paper/deepscaler_5k_self")
    t = recipe.training
    rollouts = t.per_device_train_batch_size * 8
    assert rollouts * t.steps_per_generation == 128 * 6
    assert rollouts * t.gradient_accumulation_steps == 64 * 6
    assert (t.num_generations, t.temperature, t.learning_rate, t.warmup_steps) == (6, 0.6, 1e-6, 0.05)
    assert (t.max_completion_length, t.num_train_epochs, t.beta, t.loss_type) == (12288, 10, 0, "dapo")
    assert (t.tau, t.hard_min_count, t.dev_size, t.evolve_parents, t.evolve_budget) == (2, 100, 300, 16, "heavy_4")
    assert (t.ratio_low, t.ratio_high, t.distillation, t.withdrawal) == (0.01, 10, "mask", "solved")
    assert (t.epsilon, t.delta) == (0.2, 3.0)
    assert (recipe.task.reflector_max_tokens, recipe.task.reflector_temperature) == (2048, 0.6)
    assert (t.reflect_max_tokens, t.reflect_temperature) == (2048, 0.6)
    double = load_recipe("paper/deepmath_10k_grpo_x2")
    assert double.training.method == "grpo"
    assert double.training.num_generations == 12
    assert double.training.per_device_train_batch_size * 8 * double.training.steps_per_generation == 128 * 12
    assert double.task.train == "data/deepmath-7/train_10000.parquet"
    teacher = load_recipe("paper/deepscaler_5k_teacher")
    assert teacher.task.reflector_api_key_env == "REFLECTOR_API_KEY"
    ours, theirs = (yaml.safe_load(r.to_yaml()) for r in (recipe, teacher))
    different = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    assert different == {"output_dir", "reflector_model", "reflector_base_url", "reflector_api_key_env"}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_policy_does_not_think(name: str) -> None:
    recipe = load_recipe(name)
    assert "Qwen3" in str(recipe.model.model_name_or_path)
    assert recipe.training.chat_template_kwargs == {"enable_thinking": False}


def test_counts_of_the_paper_written_out(data: list[str]) -> None:
    p = plan("paper/deepscaler_5k_self", *data)
    assert p.samples_per_generation == 128
    assert p.generations_per_epoch == 5000 // 128 == 39
    assert p.updates == 10 * 39 * 2
    assert p.rollouts == 10 * 39 * 768
    assert p.prompt_steps is not None
    assert (p.prompt_steps.count, p.prompt_steps.dev_size, p.prompt_steps.rollouts) == (9, 300, 11_040)
    assert p.evolution_rollouts / (p.rollouts * 0.9) == pytest.approx(0.37, abs=0.01)  # the paper's extra rollouts
    assert p.generated_tokens == (299_520 + 99_360) * 12_288
    text = "\n".join(plan_lines(p))
    assert "39 generations, 29,952 rollouts of 5,000 samples (8 are left over: they do not fill a generation)" in text
    assert "9, each at most 11,040 rollouts (300 dev samples, 37% of an epoch's)" in text
    x2 = plan("paper/deepscaler_5k_grpo_x2", *data)
    assert x2.rollouts == 2 * p.rollouts
    assert x2.updates == p.updates
    assert x2.prompt_steps is None


def test_updates_and_rollouts_are_the_trainers(tmp_path: Path) -> None:
    from p2o.runs.building import trainer_of

    overrides = [
        "--output_dir", str(tmp_path), "--per_device_train_batch_size", "24", "--gradient_accumulation_steps", "2",
        "--steps_per_generation", "4", "--num_train_epochs", "2", "--eval_strategy", "no", "--eval_on_start", "false",
        "--max_completion_length", "2", "--method", "grpo", "--save_strategy", "no", "--max_train_samples", "40",
    ]  # fmt: skip
    recipe = load_recipe("quickstart", overrides)
    p = make_plan(recipe)
    trainer = trainer_of(recipe)
    trainer.train()
    assert trainer.state.max_steps == p.updates
    assert trainer.cost["rollout"].rollouts == p.rollouts == 2 * 2 * 96  # 40 samples fill two generations of 16


def test_evolution_bounds(data: list[str]) -> None:
    base = ["quickstart", "--evolve_budget", "100000", "--evolve_max_iterations", "2", "--evolve_parents", "3"]
    p = plan(*base)
    assert p.prompt_steps is not None
    assert p.prompt_steps.rollouts == 48 + 2 * 3 * (2 * 3 + 48)
    small = plan("quickstart", "--dev_size", "200")
    assert small.prompt_steps is not None
    assert small.prompt_steps.dev_size == 160 // 2  # half of all samples, if all were hard
    assert plan("quickstart", "--num_train_epochs", "1").prompt_steps is None
    never = plan("quickstart", "--hard_min_count", "161")
    assert never.prompt_steps is None
    assert "nothing is ever evolved" in never.notes[0]


def test_what_cannot_work_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not fill one generation of 256"):
        plan("quickstart", "--per_device_train_batch_size", "1536")
    with pytest.raises(ConfigError, match="does not pay for the bare prompt on 48"):
        plan("quickstart", "--evolve_budget", "40")
    with pytest.raises(ConfigError, match="made for 8 processes, and 1 is running"):
        check_machine(load_recipe("paper/deepscaler_5k_self", ["--use_cpu", "true"]))
    for name, base in (("a", "b.yaml"), ("b", "a.yaml")):
        (tmp_path / f"{name}.yaml").write_text(f"base: {base}\ntrain: builtin:sandbox/train\n")
    with pytest.raises(ConfigError, match="built on itself"):
        load_recipe(str(tmp_path / "a.yaml"))


def test_what_this_machine_lacks_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFLECTOR_API_KEY", raising=False)
    p = plan("paper/deepmath_5k_teacher")
    text = "\n".join(p.notes)
    assert "REFLECTOR_API_KEY is not set" in text
    assert "data/deepmath-7/train_5000.parquet is not on this machine: its size is not known" in text
    assert p.samples is None
    assert p.rollouts is None
    assert any("one generation for each 128 samples" in line for line in plan_lines(p))


def test_the_command_prints_a_recipe_with_the_plan_as_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "quickstart", "--dry-run", "--tau", "1", "--output_dir", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    plan = out[out.index("# Plan of quickstart for 1 process") :]
    assert all(line.startswith("# ") for line in plan.splitlines())  # last, where it stays in sight
    assert yaml.safe_load(out)["tau"] == 1
    assert not (tmp_path / "run").exists()


def recipe_with(**changes: Any) -> Recipe:
    arguments = [word for key, value in changes.items() for word in (f"--{key}", str(value))]
    return load_recipe("paper/one_gpu_80gb", arguments)


def test_memory_estimate() -> None:
    sandbox = model_shape("builtin:sandbox")
    assert sandbox is not None
    assert sandbox.exact
    # 4 layers of 4·128·128 attention, 3·128·384 MLP and two norms; 82 embeddings, tied; the last norm
    assert sandbox.parameters == 4 * (4 * 128 * 128 + 3 * 128 * 384 + 256) + 82 * 128 + 128
    for name, parameters in (("Qwen/Qwen3-4B", 4e9), ("x/SmolLM2-135M-Instruct", 135e6), ("x/Qwen3-0.6B", 0.6e9)):
        shape = model_shape(name)
        assert shape is not None
        assert math.isclose(shape.parameters, parameters)
    assert model_shape("my-model") is None
    lora, full = dict(memory(recipe_with(), 1)), dict(memory(recipe_with(use_peft="false", reflector="policy"), 1))
    assert lora["weights"] == full["weights"] == 8.0  # 4 B parameters of 2 bytes
    assert full["gradients and Adam"] == 24.0  # 2 bytes of gradient and two moments of 2 bytes
    assert lora["gradients and Adam"] < 2
    shared = dict(memory(load_recipe("paper/deepscaler_5k_self"), 8))
    assert shared["weights"] + shared["gradients and Adam"] == 4 * 16 / 8  # float32, sharded over 8
