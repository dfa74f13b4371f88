"""p2o eval on a checkpoint folder, a LoRA adapter and a name; with a pool; and what goes wrong."""

import json
import re
from pathlib import Path

import pytest

from helpers import ALL_FOUR
from p2o.base.files import write_json
from p2o.cli.main import main
from p2o.core.epoch_files import write_epoch
from p2o.core.hard import Tally
from p2o.core.summary import EpochSummary
from p2o.data import load_samples
from p2o.generation.models import resolve_model

POOL = [{"text": ALL_FOUR, "weight": 0.8, "solves": ["train-000"]}]


@pytest.fixture
def data(tmp_path):
    rows = [
        {"id": f"e{n}", "prompt": [{"role": "user", "content": f"What is {a} + {b}?"}], "answer": str(a + b)}
        for n, (a, b) in enumerate([(316, 867), (455, 278), (624, 199), (738, 584), (3, 4)])
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(model, data, tmp_path, *options):
    out = tmp_path / "figures.json"
    changes = ["--test", data, "--eval_group_column", "null"]
    code = main(["eval", model, "quickstart", *changes, "--out", str(out), *options])
    return code, json.loads(out.read_text()) if out.exists() else None


def test_greedy_on_a_builtin_name(data, tmp_path, capsys):
    code, figures = run("builtin:sandbox", data, tmp_path)
    assert code == 0
    assert figures["bare"]["draws"] == 1
    assert figures["bare"]["greedy"] == figures["bare"]["mean"]
    assert "mean@1" in capsys.readouterr().out


def test_tool_calls_and_their_failures_are_shown(tmp_path, capsys):
    told = "Use the calculator. One operation at a time. Go on with the result. State the last result."
    questions = [f"{told}\n\n{s.question}" for s in load_samples("builtin:sandbox-tools/test")[:4]]
    rows = [{"prompt": question, "answer": "0"} for question in [*questions, "What is 2?", "What is 3?"]]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, out = "builtin:sandbox-tools", str(tmp_path / "figures.json")
    assert main(["eval", model, "quickstart-tools", "--test", str(path), "--out", out]) == 0
    figures = json.loads(Path(out).read_text())["bare"]
    assert figures["tool_calls"] >= 8 / 6
    assert figures["tool_failures"] < 0.5
    assert re.search(r"calls .* failed ", capsys.readouterr().out)


def test_a_lora_adapter_gives_what_its_merged_model_gives(data, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = resolve_model("builtin:sandbox")
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    model.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "merged")
    figures = [run(str(tmp_path / name), data, tmp_path)[1]["bare"] for name in ("adapter", "merged")]
    assert figures[0] == figures[1]
    plain = run("builtin:sandbox", data, tmp_path)[1]["bare"]
    assert plain["generated_tokens"] != figures[0]["generated_tokens"]


def test_with_a_pool_and_with_a_run(data, tmp_path, capsys):
    write_json(tmp_path / "pool.json", {"pool": POOL})
    code, figures = run("builtin:sandbox", data, tmp_path, "--draws", "2", "--pool", str(tmp_path / "pool.json"))
    assert code == 0
    assert figures["templated"]["mean"] > figures["bare"]["mean"]
    assert figures["templated_minus_bare"]["difference"] > 0
    summary = EpochSummary(0, paired_bare_success=0.0, paired_templated_success=0.8)
    assignment = {"train-000": [ALL_FOUR, ""]}
    write_epoch(tmp_path / "run" / "p2o", summary, {"train-000": Tally(1, 0, 5, 4)}, POOL, assignment)
    code, figures = run("builtin:sandbox", data, tmp_path, "--pool", str(tmp_path / "run"))
    assert code == 0
    assert figures["needed"]["hint_reliance"]["samples"] == 1
    assert figures["needed"]["context_induced_change"] is None
    assert figures["needed"]["over_time"] == [{"epoch": 1, "bare": 0.0, "templated": 0.8, "difference": 0.8}]
    assert "hint reliance" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--draws", "0"], ["--temp", "-1"], ["--pool", "nowhere.json"]])
def test_wrong_options_are_one_sentence(options, data, tmp_path, capsys):
    assert run("builtin:sandbox", data, tmp_path, *options) == (2, None)
    assert capsys.readouterr().err.startswith("p2o: ")
    assert main(["eval", str(tmp_path / "no-model"), "quickstart", "--test", data]) == 2
