"""What a finished run leaves: a model that plain transformers and peft load, cards, and the pool to read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from helpers import ALL_FOUR
from p2o.base.markdown import fenced
from p2o.cli.main import main
from p2o.core.templates import PoolTemplate
from p2o.generation.models import resolve_model
from p2o.runs.export import is_hub_name, public_name
from p2o.runs.model_card import pool_page

QUESTION = [{"role": "user", "content": "What is 12 + 7?"}]


def train(folder: Path, *overrides: str) -> Path:
    """Two epochs on a few sums, with a reflector that knows what helps."""
    reflector = folder / "reflector.py"
    reflector.write_text(f"def write(prompt):\n    return '```\\n{ALL_FOUR}\\n```'\n")
    run = folder / "run"
    arguments = [
        "quickstart", "--output_dir", str(run), "--max_train_samples", "16", "--num_generations", "4",
        "--per_device_train_batch_size", "64", "--num_train_epochs", "2", "--reflector", f"{reflector}:write",
        "--hard_min_count", "4", "--dev_size", "4", "--evolve_budget", "60", "--evolve_max_iterations", "1",
        "--eval_strategy", "no", "--eval_on_start", "false", "--disable_tqdm", "true", *overrides,
    ]  # fmt: skip
    assert main(["train", *arguments]) == 0
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    return train(folder, "--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "all-linear", "--pull", "0")


def test_the_checkpoint_loads_with_plain_transformers(run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = run / "checkpoint-2"
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    inputs = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    text = tokenizer.decode(model.generate(**inputs, max_new_tokens=8)[0])
    assert text.startswith("<u>What is 12 + 7?<a>")
    # vLLM takes every *.safetensors file of a folder for weights
    assert [p.name for p in checkpoint.glob("*.safetensors")] == ["model.safetensors"]


def test_the_chat_template_is_the_sources_to_the_byte(run: Path, lora_run: Path) -> None:
    source = (Path(resolve_model("builtin:sandbox")) / "chat_template.jinja").read_bytes()
    for folder in (run, lora_run):
        assert (folder / "checkpoint-2" / "chat_template.jinja").read_bytes() == source


def test_templates_are_in_no_file_of_the_model(run: Path) -> None:
    summary = json.loads((run / "p2o" / "epoch-001.json").read_text())["summary"]
    assert summary["templated_success"] is not None  # the run did use them
    for path in (run / "checkpoint-2").iterdir():
        ours = path.name in ("p2o_state.json", "README.md")  # the trainer's state and the card tell of them
        assert ours or ALL_FOUR.encode() not in path.read_bytes(), path.name


def test_an_adapter_loads_with_plain_peft(lora_run: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    checkpoint = lora_run / "checkpoint-2"
    assert sorted(p.name for p in checkpoint.glob("*.safetensors")) == ["adapter_model.safetensors"]
    base = AutoModelForCausalLM.from_pretrained(resolve_model("builtin:sandbox"))
    model = PeftModel.from_pretrained(base, str(checkpoint))
    trained = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert any(p.abs().max() > 0 for p in trained)
    assert ModelCard.load(checkpoint / "README.md").data.to_dict()["library_name"] == "peft"


def test_the_cards_are_ready_for_the_hub(run: Path) -> None:
    card = ModelCard.load(run / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "transformers"
    assert {"p2o", "gepa", "grpo"} <= set(data["tags"])
    assert (run / "checkpoint-2" / "README.md").read_text() == (run / "README.md").read_text()
    text = card.text
    for credit in ("2603.21877", "2507.19457", "2402.03300"):
        assert credit in text
    result = json.loads((run / "p2o" / "result.json").read_text())
    for when in ("before", "after"):
        assert f"{100 * result[when]['test_bare_success']:.1f} %" in text
    summary = json.loads((run / "p2o" / "epoch-001.json").read_text())["summary"]
    assert f"{100 * summary['templated_success']:.1f} % of the rollouts under a template were solved" in text
    assert f"{result['cost']['training_cost']:,} forward-equivalent tokens" in text
    for fact in ("quickstart", "builtin:sandbox/train", "| seed | 0 |", "reflector.py:write", ALL_FOUR):
        assert fact in text
    assert str(run.parent) not in text  # no path of this machine


def test_the_pool_is_json_and_a_page(run: Path) -> None:
    pool = json.loads((run / "p2o" / "pool.json").read_text())
    best = max(pool["pool"], key=lambda t: t["weight"])
    assert best["text"] == ALL_FOUR
    page = (run / "p2o" / "pool.md").read_text()
    assert f"solves {len(best['solves'])} of {pool['dev_size']} dev samples" in page
    assert ALL_FOUR in page


def test_a_grpo_run_has_a_card_without_templates(tmp_path: Path) -> None:
    run = train(tmp_path, "--method", "grpo", "--num_train_epochs", "1", "--test", "null")
    text = (run / "README.md").read_text()
    assert "as the baseline of P²O" in text
    assert "No held-out data was evaluated." in text
    assert "reflector" not in text
    assert not (run / "p2o" / "pool.json").exists()


def test_names_that_may_be_published(tmp_path: Path) -> None:
    for name, public in [
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"), ("builtin:sandbox", "builtin:sandbox"),
        ("/data/secret/model", "model"), ("data/own.jsonl", "own.jsonl"), ("/home/me/r.py:score", "r.py:score"),
        ("reasoning_gym:chain_sum?size=9", "reasoning_gym:chain_sum?size=9"), ("boxed", "boxed"),
    ]:  # fmt: skip
        assert public_name(name) == public
    assert not is_hub_name("data/train.parquet")


def test_a_template_cannot_leave_its_block() -> None:
    hostile = "```\n# Injected\n````text"
    block = fenced(hostile)
    assert block.startswith("`````text\n")
    assert block.endswith("\n`````")
    page = pool_page([PoolTemplate(hostile, 0.5, frozenset({"a"}))], 2, "x", "after epoch 1")
    assert block in page
    unscored = pool_page([PoolTemplate("t", 1.0, frozenset(), scored=False)], 2, "x", "after epoch 1")
    assert "solves 0" not in unscored
    assert "1.000" not in unscored
    assert "No template solved" in pool_page([PoolTemplate("", 0.5, frozenset({"a"}))], 2, "x", "after epoch 1")
