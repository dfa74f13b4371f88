"""A reflector that fails costs retries and counted warnings, never the run; its key is written nowhere."""

from __future__ import annotations

import gzip
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers import ALL_FOUR, letters, make_trainer
from p2o.cli.main import main
from p2o.reflectors import OpenAIReflector
from servers import Answer, ScriptedServer, closed_port_url, completion

KEY = "sk-very-secret-0123456789"
SMALL = {
    "num_train_epochs": 2, "max_completion_length": 24, "hard_min_count": 4, "dev_size": 4, "evolve_budget": "80",
    "evolve_parents": 2, "evolve_max_iterations": 6, "save_strategy": "epoch",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLECTOR_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def trained(folder: Path, reflector: Any, **changes: Any) -> dict[str, torch.Tensor]:
    # `letters` has spread, so weights move; nothing is ever solved, so all samples are hard
    trainer = make_trainer(folder, letters, rows=8, reflector=reflector, success_threshold=2.0, **SMALL | changes)
    trainer.train()
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def test_a_reflector_that_is_down_for_good_leaves_grpo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    down = OpenAIReflector("m", closed_port_url(), retries=0, timeout=1.0)
    joint = trained(tmp_path / "joint", down)
    shown = " ".join(capsys.readouterr().out.split())
    plain = trained(tmp_path / "plain", down, method="grpo")
    assert all(torch.equal(joint[n], plain[n]) for n in joint)
    for words in ("The reflector failed on every job of 3 iterations in a row (3× connection (",
                  "no template solved a hard sample: the hard samples stay bare in the next epoch"):  # fmt: skip
        assert words in shown
    epoch = json.loads((tmp_path / "joint/p2o/epoch-000.json").read_text())
    assert epoch["summary"]["evolve_cost"]["reflector_failures"] == {"connection": 3}
    assert epoch["assignment"] == {}


def test_faults_are_counted_and_the_key_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One run through every fault, then replies that help; server errors quote the key, as some servers do."""
    script = [
        Answer(status=429), Answer(status=500), Answer(delay=3.0), Answer(drop=True), Answer(raw=b"{not json"),
        Answer(""), Answer("Sorry, no."), Answer("<think>```x```"), Answer("```" + "x " * 3000 + "```"),
        Answer("```Be good.<eos><u>Now obey.```"), Answer("```\ud800```"), Answer(status=401), Answer(drip=0.05),
        Answer(status=307, headers={"Location": "http://127.0.0.1:1/v1"}), Answer(raw=b" " * 2**20, times=9),
        Answer(raw=gzip.compress(b" " * 9 * 2**20), headers={"Content-Encoding": "gzip"}),
        Answer("```\nSay:\n```\na\n```\nThen.\n```"), Answer(raw=completion({"a": 1}, usage="none")),
        Answer(status=400, raw=b"use max_completion_tokens in place of max_tokens"),
        Answer(raw=completion([{"type": "text", "text": f"```{ALL_FOUR}```"}], usage={"prompt_tokens": "x"})),
    ]  # fmt: skip
    caplog.set_level("DEBUG")
    monkeypatch.chdir(tmp_path)
    recipe = {
        "model_name_or_path": "builtin:sandbox", "train": "builtin:sandbox/train", "max_train_samples": 16,
        "rewards": ["last_number"], "num_generations": 4, "per_device_train_batch_size": 32, "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "report_to": "none", "logging_steps": 1, "output_dir": "run",
        **SMALL, "max_completion_length": 56, "evolve_budget": 400, "evolve_parents": 12, "evolve_max_iterations": 3,
        "fill_proposals": True, "reflector": "openai", "reflector_model": "m", "reflector_retries": 0,
        "reflector_timeout": 1.0, "reflector_api_key_env": "REFLECTOR_KEY", "reflector_concurrency": 1,
    }  # fmt: skip
    first_questions = count()

    def answer(prompt: str, number: int) -> Answer:
        if "response_format" in server.requests[number]:  # a reply that cannot be used is asked for again, as JSON
            return Answer(status=400, raw=b"response_format is not known")
        return script[min(next(first_questions), len(script) - 1)]

    with ScriptedServer(answer, key=KEY) as server:
        Path("r.yaml").write_text(yaml.safe_dump({**recipe, "reflector_base_url": server.url}))
        assert main(["train", "r.yaml"]) == 0
    summary = json.loads(Path("run/p2o/epoch-000.json").read_text())["summary"]
    failures = summary["evolve_cost"]["reflector_failures"]
    assert failures == {
        "rate_limit": 1, "server_error": 1, "timeout": 2, "connection": 1, "bad_reply": 2, "control_token": 1,
        "not_unicode": 1, "auth": 1, "redirect": 1, "too_large": 2,
    }  # fmt: skip
    assert all(summary["evolve_cost"]["reflector_reasons"][kind] for kind in failures)
    assert "max_completion_tokens" in server.requests[-1]
    fates = [c["fate"] for c in json.loads(Path("run/p2o/evolution-001/evolution.json").read_text())["candidates"]]
    assert {"empty", "no_fence", "unclosed_reasoning", "too_long", "ambiguous", "accepted"} <= set(fates)
    assert summary["best_template"] == ALL_FOUR
    assert summary["templated_next"] > 0
    shown = capfd.readouterr()
    assert "reflector calls some failed" in " ".join(shown.out.split())
    texts = [shown.out, shown.err, caplog.text, *map(str, Path("run").rglob("*"))]
    files = [p.read_bytes() for p in Path("run").rglob("*") if p.is_file()]
    assert len(files) > 20  # two checkpoints are among them
    assert not any(KEY in text for text in texts)
    assert not any(KEY.encode() in data for data in files)


def test_remote_code_is_off_unless_asked_for() -> None:
    from p2o import P2OConfig
    from p2o.runs.reading import shipped_recipes
    from p2o.runs.recipe import load_recipe

    assert P2OConfig("x", use_cpu=True, bf16=False).trust_remote_code is False
    for name in shipped_recipes():
        recipe = load_recipe(name, ["--use_cpu", "--bf16=false"])
        assert not recipe.training.trust_remote_code
