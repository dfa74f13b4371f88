"""Tools and environments on stock verl, end to end on a CPU: three agent loops in one run of three epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reward import NOTED
from tiny_run import MULTI_TURN, PHRASES, metrics, run, start, write_data
from transformers import AutoTokenizer

from p2o.generation.models import resolve_model

pytestmark = pytest.mark.usefixtures("shared_ray")

STEPS = 2  # of an epoch
AGENTS = ["tool_agent", "ask_again", "single_turn_agent"]


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows ask in turn for verl's tool loop, a user's environment of two turns, and one turn."""
    out = tmp_path_factory.mktemp("multi")
    write_data(out, AGENTS)
    run(out, MULTI_TURN)
    return out


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def trained(out: Path, step: int) -> list[dict[str, Any]]:
    """verl's own record of a training batch: prompt and response as they are stored, which is what trains."""
    return lines(out / "rollouts" / f"{step}.jsonl")


def asked(out: Path, temperature: int) -> list[dict[str, Any]]:
    """What the rollout server was asked: 1 for training, 0 between epochs."""
    return [line for line in lines(out / "server.jsonl") if line["temperature"] == temperature]


def cost(out: Path, step: int) -> dict[str, Any]:
    return json.loads((out / f"checkpoints/global_step_{step}/p2o_state.json").read_text())["cost"]


def test_the_loop_rescues_dead_samples(multi: Path) -> None:
    steps = metrics(multi)
    assert [step["p2o/templated"] > 0 for step in steps] == [False, False, True, True, True, True]
    assert steps[STEPS]["p2o/templated_success"] > 0.5, "templates solve what no bare rollout solved"
    assert steps[STEPS]["actor/grad_norm"] > 0


def test_rollouts_of_several_turns_are_generated_templated_and_stored_bare(multi: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    prompts = [tokenizer.decode(line["prompt_ids"]) for line in asked(multi, 1)]
    later = [prompt for prompt in prompts if NOTED in prompt]
    assert any(phrase in prompt for prompt in later for phrase in PHRASES), "later turns follow on T(x, z)"
    rows = [row for step in range(1, 3 * STEPS + 1) for row in trained(multi, step)]
    assert all(row["input"].startswith("What is") for row in rows)
    assert not any(phrase in row["input"] + row["output"] for row in rows for phrase in PHRASES)
    assert 0.2 < sum(NOTED in row["output"] for row in rows) / len(rows) < 0.9, "some have several turns, some one"


def test_log_probs_of_both_engines_agree_on_the_models_tokens(multi: Path) -> None:
    # The engine's are on T(x, z) and the turns so far; with the mask or a turn out of place they would be far away.
    assert all(step["training/rollout_probs_diff_max"] < 1e-4 for step in metrics(multi))


def test_every_request_is_counted_with_what_it_read_and_wrote(multi: Path) -> None:
    counted = cost(multi, 3 * STEPS)
    for phase, temperature in (("rollout", 1), ("evolve", 0)):
        requests = asked(multi, temperature)
        assert counted[phase]["generated_tokens"] == sum(line["generated"] for line in requests)
        assert counted[phase]["prompt_tokens"] == sum(len(line["prompt_ids"]) for line in requests)
        assert counted[phase]["rollouts"] < len(requests), "one rollout of several requests"
    rows = sum(len(trained(multi, step)) for step in range(1, 3 * STEPS + 1))
    assert counted["rollout"]["rollouts"] == rows


def test_an_agent_loop_that_cannot_be_wrapped_ends_the_run_before_training(tmp_path: Path) -> None:
    # The other reasons are tested without a run, in test_verl_agent_loops.py.
    chosen = "actor_rollout_ref.rollout.agent.default_agent_loop=two_outputs"
    assert start(tmp_path, [*MULTI_TURN, chosen]).wait() != 0
    assert "hands back 2 outputs for one rollout, and P²O trains one" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "metrics.jsonl").exists()
