"""A served policy that reports no token counts: no command shows them as 0."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from p2o.cli.main import main
from servers import Answer, ScriptedServer, completion

ROWS = [{"prompt": f"What is {n} + 7?", "answer": str(n + 7)} for n in range(40)]
RECIPE: dict[str, Any] = {
    "model_name_or_path": "builtin:sandbox", "train": "rows.jsonl", "test": "rows.jsonl", "rewards": ["last_number"],
    "num_generations": 4, "per_device_train_batch_size": 16, "use_cpu": True, "bf16": False, "output_dir": "run",
    "report_to": "none", "reflector": "phrases", "max_completion_length": 4, "tau": 1, "dev_size": 10,
    "evolve_budget": "60", "hard_min_count": 4,
}  # fmt: skip


@pytest.fixture
def on_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command with a policy whose server reports the given usage."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def run(usage: Any, *words: str) -> int:
        def answer(prompt: str, n: int) -> Answer:
            return Answer(raw=completion("7" if len(prompt) < 20 and n % 2 else "no", usage=usage))

        with ScriptedServer(answer) as server:
            Path("r.yaml").write_text(yaml.safe_dump({**RECIPE, "policy_base_url": server.url}))
            return main(list(words))

    return run


PARTLY = {"prompt_tokens": 9, "completion_tokens": None}


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0}


@pytest.mark.parametrize("usage", [None, {}, PARTLY, ZEROS])
def test_eval(on_server: Callable[..., int], usage: Any) -> None:
    assert on_server(usage, "eval", "m", "r.yaml", "--out", "e.json") == 0
    bare = json.loads(Path("e.json").read_text())["bare"]
    assert (bare["prompt_tokens"], bare["generated_tokens"]) == (None, None)


@pytest.mark.parametrize("usage", [None, PARTLY])
def test_screen(on_server: Callable[..., int], usage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_server(usage, "screen", "r.yaml", "--samples", "40") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "rollouts (" in told
    assert "tokens: not measured, the endpoint reports no token counts (usage)" in told
    assert "forward-equivalent" not in told
    projection = json.loads(Path("run/screen.json").read_text())["screen"]["projection"]
    assert (projection["p2o_cost"], projection["grpo_cost"]) == (None, None)
    assert projection["p2o_rollouts"] > projection["grpo_rollouts"] > 0


def test_evolve(on_server: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    assert on_server(None, "evolve", "r.yaml") == 0
    cost = json.loads(Path("run/p2o/cost.json").read_text())
    for phase in ("rollout", "evolve"):
        assert cost[phase]["unmeasured_texts"] == cost[phase]["rollouts"] > 0
        assert {cost[phase][key] for key in ("prompt_tokens", "generated_tokens", "cost")} == {None}
    assert cost["training_cost"] is None
    spent = json.loads(Path("run/p2o/pool.json").read_text())["cost"]
    assert (spent["prompt_tokens"], spent["completion_tokens"]) == (None, None)
    assert spent["unmeasured_rollouts"] == spent["metric_calls"] > 0
    assert "rollouts came without a count of their tokens" in caplog.text


def test_what_is_reported_is_shown(on_server: Callable[..., int]) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    assert on_server(usage, "eval", "m", "r.yaml", "--out", "e.json") == 0
    bare = json.loads(Path("e.json").read_text())["bare"]
    assert (bare["prompt_tokens"], bare["generated_tokens"]) == (9 * 40, 2 * 40)
