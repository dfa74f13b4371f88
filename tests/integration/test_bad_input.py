"""What a user gets wrong: one sentence that says what, where and what to do; exit code 2; no traceback."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2o.cli.main import main
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model
from p2o.trl.batch_sizes import left_out_warning

ROWS: list[Any] = [{"prompt": f"What is {n} + 7?", "answer": str(n + 7)} for n in range(8)]
BASE = {
    "model_name_or_path": "builtin:sandbox", "train": "good.jsonl", "rewards": ["last_number"], "num_generations": 4,
    "per_device_train_batch_size": 8, "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
    "report_to": "none", "max_steps": 1, "reflector": "phrases", "max_completion_length": 8, "save_strategy": "no",
    "disable_tqdm": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data("good.jsonl", ROWS)
    data("empty.jsonl", [])
    data("words.jsonl", [{"prompt": "x?", "answer": "twelve"}])


def data(name: str, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path(name).write_text("\n".join(lines), encoding="utf-8")
    return name


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Runs a command that must fail; its one sentence."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    (line,) = [line for line in shown.err.splitlines() if line.startswith("p2o: ")]
    assert shown.err.rstrip().endswith(line)
    assert len(line) < 600
    return line


def train(capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    Path("r.yaml").write_text(yaml.safe_dump({**BASE, **changes}), encoding="utf-8")
    return said(capsys, "train", "r.yaml", "--output_dir", "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rat": 1}, ["unknown key 'learning_rat' in r.yaml", "learning_rate"]),
        ({"num_generations": "four"}, ["num_generations is 'four'", "whole number"]),
        ({"use_cpu": "maybe"}, ["use_cpu is 'maybe'", "true or false"]),
        ({"method": "ppo"}, ["there is no method 'ppo'", "grpo, p2o, dapo, ", ", or file.py:Class"]),
        ({"loss_type": "nope"}, ["loss_type is 'nope'", "dapo"]),
        ({"learning_rate": -1}, ["learning_rate is -1", "at least 0"]),
        ({"evolve_budget": "hefty"}, ["'hefty'", "did you mean heavy?"]),
        ({"reward_weights": [1, 2]}, ["2 reward weights", "1 rewards"]),
        ({"success_reward": "nope"}, ["'nope'", "last_number"]),
        ({"rewards": ["boxd"]}, ["'boxd'", "did you mean boxed"]),
        ({"rewards": ["nomod:f"]}, ["nomod:f", "cannot be loaded"]),
        ({"reflector": "gpt"}, ["'gpt'", "self, policy, openai, phrases"]),
        ({"reflector": "nomod:f"}, ["'nomod:f'", "module:function"]),
        ({"reflector": "openai"}, ["reflector_model"]),
        ({"reflector": "openai", "reflector_model": "m", "reflector_api_key_env": "NO_SUCH"}, ["NO_SUCH is not set"]),
        ({"train": ""}, ["r.yaml names no training data", "'train'"]),
        ({"train": "nothere.jsonl"}, ["no file nothere.jsonl", "check the path"]),
        ({"prompt_column": "nope"}, ["good.jsonl has no column 'nope'", "prompt_column", "prompt, answer"]),
        ({"train_split": "dev"}, ["good.jsonl has no split 'dev'"]),
        ({"train": "owner/name"}, ["owner/name is not on this machine", "hub cannot be reached"]),
        ({"model_name_or_path": "owner/name"}, ["cannot load the model 'owner/name'", "folder with a checkpoint"]),
        ({"model_name_or_path": "./nomodel"}, ["cannot load the model './nomodel'", "folder with a checkpoint"]),
        ({"model_name_or_path": "builtin:nope"}, ["'builtin:nope'", "builtin:sandbox"]),
        ({"model_name_or_path": None}, ["names no model", "model_name_or_path"]),
        ({"num_generations": 1}, ["num_generations is 1", "at least 2"]),
        ({"per_device_train_batch_size": 6}, ["6 rollouts", "num_generations 4 does not divide", "4 or 8 would do"]),
        ({"generation_batch_size": 10}, ["10 rollouts", "8 or 12 would do"]),
        ({"per_device_train_batch_size": 64}, ["holds 16 samples", "has 8", "lower per_device_train_batch_size"]),
        ({"eval_strategy": "epoch"}, ["the recipe r cannot be run", "eval_dataset"]),
        ({"dtype": "float99"}, ["dtype is 'float99' in r.yaml", "bfloat16"]),
        ({"log_level": "loud"}, ["log_level is 'loud' in r.yaml", "one of detail, debug"]),
        ({"torch_compile_mode": "fast"}, ["torch_compile cannot be used", "mode=fast"]),
        ({"dataloader_persistent_workers": True}, ["dataloader", "num_workers > 0"]),
        ({"report_to": None}, ["report_to names 'null', which is no tracker"]),
        ({"temperature": 0}, ["temperature is 0; it must be from 0.01 to 100"]),
        ({"top_k": -1}, ["top_k is -1; it must be at least 0"]),
        ({"test": "empty.jsonl"}, ["empty.jsonl holds no rows"]),
        ({"test": "words.jsonl"}, ["'twelve' in row 1 of words.jsonl", "as a number"]),
    ],
    ids=lambda value: ",".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_recipes(capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]) -> None:
    line = train(capsys, **changes)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("row", "rewards", "words"),
    [
        ({"answer": "3"}, "last_number", ["row 3 of bad.jsonl has no prompt", "drop the row"]),
        ({"prompt": "", "answer": "3"}, "last_number", ["row 3 of bad.jsonl has no prompt"]),
        ({"prompt": "x?"}, "last_number", ["row 3 of bad.jsonl has no answer", "require_answer"]),
        ({"prompt": "x?", "answer": "twelve"}, "last_number", ["'twelve' in row 3 of bad.jsonl", "as a number"]),
        ({"prompt": "x?", "answer": "???"}, "boxed", ["'???' in row 3 of bad.jsonl", "as mathematics"]),
        ("{oops", "last_number", ["line 3 of bad.jsonl is not valid JSON"]),
        ("[1]", "last_number", ["row 3 of bad.jsonl is not a JSON object"]),
        ({"prompt": [{"role": "boss", "content": "x"}], "answer": "3"}, "last_number", ["row 3 of bad.jsonl", "role"]),
    ],
)
def test_rows(capsys: pytest.CaptureFixture[str], row: Any, rewards: str, words: list[str]) -> None:
    line = train(capsys, train=data("bad.jsonl", [*ROWS[:2], row]), rewards=[rewards])
    for word in words:
        assert word in line


def test_an_empty_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert "empty.jsonl holds no rows" in train(capsys, train=data("empty.jsonl", []))


def test_command_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")
    Path("broken.yaml").write_text("a: [1", encoding="utf-8")
    Path("list.yaml").write_text("- a", encoding="utf-8")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00a")
    Path("file").write_text("", encoding="utf-8")
    Path("bad.jinja").write_text("{% if %}", encoding="utf-8")
    for argv, word in [
        (["train", "quikstart"], "did you mean quickstart"),
        (["train", "nosuch.yaml"], "no recipe file nosuch.yaml"),
        (["train", "broken.yaml"], "broken.yaml is not valid YAML"),
        (["train", "list.yaml"], "list.yaml must be a mapping"),
        (["train", "binary.yaml"], "binary.yaml cannot be read as text"),
        (["train", "r.yaml", "stray"], "unexpected argument 'stray'"),
        (
            ["train", "r.yaml", "--num_generation", "4"],
            "line (did you mean --num_generations",
        ),
        (["train", "r.yaml", "--output_dir", "file/run"], "cannot write to file/run: Not a directory"),
        (["train", "r.yaml", "--output_dir", "fresh", "--resume"], "nothing to resume in fresh"),
        (
            ["eval", "./nomodel", "r.yaml", "--test", "good.jsonl"],
            "cannot load the model './nomodel': there is no such folder",
        ),
        (["eval", "builtin:sandbox", "r.yaml"], "names no test data"),
        (["eval", "builtin:sandbox", "r.yaml", "--test", "good.jsonl", "--temp", "nan"], "--temp is nan"),
        (["eval", "builtin:sandbox", "r.yaml", "--test", "good.jsonl", "--out", "."], "cannot write .: it is a folder"),
        (["eval", "builtin:sandbox", "r.yaml", "--test", "words.jsonl"], "'twelve' in row 1 of words.jsonl"),
        (["train", "r.yaml", "--output_dir", "x" * 300], "File name too long"),
        (["train", "r.yaml", "--output_dir", ""], "output_dir is empty"),
        (["train", "r.yaml", "--train", "/"], "the data set / cannot be loaded"),
        (["train", "r.yaml", "--chat_template_path", "bad.jinja"], "'bad.jinja' is no template (line 1"),
        (["train", "r.yaml", "--scale_rewards", "nosuch"], "scale_rewards is 'nosuch'; it must be one of group"),
        (["train", "r.yaml", "--generation_kwargs", "{top_q: 1}"], "unknown key 'top_q' (did you mean top_"),
        (["compare", "r.yaml", "--test", "good.jsonl", "--budget", "cost=nan"], "--budget is 'cost=nan'"),
        (["compare", "r.yaml", "--test", "good.jsonl", "--launch", "'"], "is no command (No closing quotation)"),
        (["report", "r.yaml", "--ou", "x"], "has no option '--ou' (did you mean --out"),
        (["eval", "builtin:sandbox", "r.yaml", "--test", "good.jsonl", "--pool", "none.json"], "none.json"),
    ]:
        assert word in said(capsys, *argv)


def test_fewer_hard_samples_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`evolve` has nothing else to do; a training run goes on, and says so."""
    Path("r.yaml").write_text(yaml.safe_dump({**BASE, "max_steps": -1, "num_train_epochs": 2}), encoding="utf-8")
    line = said(capsys, "evolve", "r.yaml", "--output_dir", "run")
    assert "fewer than hard_min_count 100; lower it" in line
    assert main(["train", "r.yaml", "--output_dir", "run"]) == 0
    assert "fewer than hard_min_count 100" in capsys.readouterr().out


def test_a_tokenizer_without_a_chat_template(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(resolve_model("builtin:sandbox"), "base")
    Path("base/chat_template.jinja").unlink()
    assert "no chat template" in train(capsys, model_name_or_path="base")
    assert "chat_template_path" in train(capsys, model_name_or_path="base")


def test_a_complete_run_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(yaml.safe_dump(BASE), encoding="utf-8")
    assert main(["train", "r.yaml", "--output_dir", "run"]) == 0
    before = Path("run/p2o/result.json").read_bytes()
    assert "is complete" in said(capsys, "train", "r.yaml", "--output_dir", "run")
    assert "holds a run already" in said(capsys, "train", "r.yaml", "--output_dir", "run", "--if_exists", "fail")
    assert main(["train", "r.yaml", "--output_dir", "run", "--if_exists", "new"]) == 0
    assert Path("run-2/p2o/result.json").exists()
    assert Path("run/p2o/result.json").read_bytes() == before


def test_what_an_epoch_leaves_out_is_said() -> None:
    assert left_out_warning(96, 32, 6) is None
    text = left_out_warning(160, 48, 6)
    assert text is not None
    assert text.startswith("16 of 160 training samples are left out of each epoch")
    assert text.endswith(
        "a batch of 40 samples (per_device_train_batch_size x processes x steps_per_generation = 240, now 288) uses all"
    )
    alone = left_out_warning(74, 8, 6)
    assert alone is not None
    assert alone.endswith("because one batch of rollouts holds 8 samples; no batch size near it uses all")
    with pytest.raises(ConfigError, match="holds 32 samples"):
        left_out_warning(31, 32, 6)


def test_the_warning_reaches_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.yaml").write_text(yaml.safe_dump({**BASE, "per_device_train_batch_size": 12}), encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert main(["train", "r.yaml", "--output_dir", "run"]) == 0
    assert any("2 of 8 training samples are left out" in str(w.message) for w in caught)
