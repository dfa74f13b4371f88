"""P²O on stock verl, end to end on a CPU. Minutes: one whole run, and some that go on from its checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import HERE, PHRASES, metrics, run, start
from transformers import AutoTokenizer
from user_methods import HINT

from p2o.core.epoch_files import read_epoch
from p2o.generation.models import resolve_model

pytestmark = pytest.mark.usefixtures("shared_ray")

STEPS = 2  # of an epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of two steps; a checkpoint after each step."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


def checkpoint(out: Path, step: int) -> Path:
    return out / "checkpoints" / f"global_step_{step}"


def state(out: Path, step: int) -> dict[str, Any]:
    return json.loads((checkpoint(out, step) / "p2o_state.json").read_text())


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    saved = torch.load(checkpoint(out, step) / "actor" / "model_world_size_1_rank_0.pt", weights_only=False)
    return {n: (w.to_local() if hasattr(w, "to_local") else w) for n, w in saved.items() if n != "lm_head.weight"}


def rollouts(out: Path, step: int) -> list[dict[str, Any]]:
    """verl's own record of a training batch: prompts as they are stored, which is what trains."""
    return [json.loads(line) for line in (out / "rollouts" / f"{step}.jsonl").read_text().splitlines()]


def asked(out: Path) -> list[dict[str, Any]]:
    """What the rollout server was asked, in order: prompt, version and sum of its weights."""
    return [json.loads(line) for line in (out / "server.jsonl").read_text().splitlines()]


def go_on_from(whole: Path, step: int, out: Path) -> Path:
    """A run folder that holds the whole run's checkpoint of one step alone."""
    shutil.copytree(checkpoint(whole, step), checkpoint(out, step))
    (out / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))
    return out


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Norm of the difference, relative to ``b``'s."""
    difference = torch.stack([(a[n] - b[n]).norm() for n in b]).norm()
    return float(difference / torch.stack([w.norm() for w in b.values()]).norm())


def test_the_loop_rescues_dead_samples(whole: Path) -> None:
    steps = metrics(whole)
    assert [s["p2o/templated"] > 0 for s in steps] == [False, False, True, True, True, True]
    assert steps[STEPS]["p2o/templated_success"] > 0.5, "templates solve what no bare rollout solved"
    hard = [t for t in epoch_of(whole, 0)["tallies"].values() if t.bare_solved == 0]
    assert len(hard) >= 12
    assert steps[STEPS]["actor/grad_norm"] > 0
    assert [epoch_of(whole, e)["summary"]["epoch"] for e in range(3)] == [0, 1, 2]


def epoch_of(out: Path, epoch: int) -> dict[str, Any]:
    return read_epoch(out / "checkpoints" / "p2o" / f"epoch-{epoch:03d}.json")


def test_templated_rollouts_are_stored_under_the_bare_prompt(whole: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("builtin:sandbox"))
    prompts = [tokenizer.decode(line["prompt_ids"]) for line in asked(whole) if line["temperature"] == 1]
    assert any(phrase in prompt for prompt in prompts for phrase in PHRASES), "they are generated from T(x, z)"
    for step in range(1, 3 * STEPS + 1):
        assert not any(phrase in row["input"] for row in rollouts(whole, step) for phrase in PHRASES)
        assert all(row["input"].startswith("What is") for row in rollouts(whole, step))


def test_log_probs_of_both_engines_agree_on_the_templated_prompt(whole: Path) -> None:
    # The engine's log-probs are on T(x, z); had the ratio's denominator been taken on another prompt, they would be far
    # from it.
    assert all(step["training/rollout_probs_diff_max"] < 1e-4 for step in metrics(whole))


def test_evolution_uses_the_newest_weights(whole: Path) -> None:
    ((step, sum_of_weights),) = {(line["steps"], line["sum"]) for line in asked(whole) if line["temperature"] == 0}
    assert step == STEPS
    assert sum_of_weights == pytest.approx(magnitude(whole, STEPS), rel=1e-9)
    assert magnitude(whole, STEPS) != pytest.approx(magnitude(whole, STEPS - 1), rel=1e-7)


def magnitude(out: Path, step: int) -> float:
    return sum(w.double().abs().sum().item() for w in weights(out, step).values())


def test_every_rollout_is_counted(whole: Path) -> None:
    cost = state(whole, 3 * STEPS)["cost"]
    at_training, between = ([line for line in asked(whole) if line["temperature"] == t] for t in (1, 0))
    assert cost["rollout"]["rollouts"] == len(at_training)
    assert cost["rollout"]["prompt_tokens"] == sum(len(line["prompt_ids"]) for line in at_training)
    assert cost["evolve"]["rollouts"] == len(between)
    assert cost["evolve"]["prompt_tokens"] == sum(len(line["prompt_ids"]) for line in between)


def test_without_templates_a_step_is_stock_verls(whole: Path, tmp_path: Path) -> None:
    stock = run(tmp_path, [f"trainer.total_training_steps={STEPS}"], added=[])
    for own, theirs in zip(metrics(whole), stock, strict=False):
        assert own["actor/grad_norm"] == pytest.approx(theirs["actor/grad_norm"], rel=1e-4)
        assert own["actor/pg_loss"] == pytest.approx(theirs["actor/pg_loss"], abs=1e-6)
    assert stock[STEPS - 1]["actor/grad_norm"] > 0


EVERY_ROW_TEMPLATED = [f"+p2o.method={HERE}/user_methods.py:Always", "trainer.total_training_steps=1"]
KEEP_ALL = ["++p2o.ratio_low=1e-25", "++p2o.ratio_high=1e25"]
WAYS = {
    "drop all": ["++p2o.drop_failed_template_rollout=True", "++p2o.success_threshold=2"],
    "keep all": KEEP_ALL,
    "keep all corrected": [*KEEP_ALL, "algorithm.rollout_correction.rollout_is=token"],
    "importance": ["++p2o.distillation=importance"],
    "none": ["++p2o.distillation=none"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of one step in which all rows are templated, and are trained in the named way."""

    @cache
    def run_step(way: str) -> Path:
        out = tmp_path_factory.mktemp(way.replace(" ", "-").replace(",", ""))
        run(out, [*EVERY_ROW_TEMPLATED, *WAYS[way]])
        return out

    return run_step


def test_a_mask_that_drops_all_leaves_no_gradient(trained: Callable[[str], Path]) -> None:
    step = metrics(trained("drop all"))[-1]
    assert step["p2o/templated"] == 1
    assert step["critic/advantages/max"] > 0, "there is something to be learned"
    assert step["actor/grad_norm"] == 0


def test_verls_own_correction_compares_templated_rollouts_where_they_were_drawn(trained: Callable[[str], Path]) -> None:
    # Both engines agree, so that the correction is 1. Against x it would be the ratio itself, and matter.
    corrected, kept = (metrics(trained(name))[-1] for name in ("keep all corrected", "keep all"))
    assert corrected["rollout_corr/rollout_is_mean"] == pytest.approx(1, abs=1e-4)
    assert corrected["actor/grad_norm"] == pytest.approx(kept["actor/grad_norm"], rel=1e-3)
    assert kept["p2o/ratio_q01"] < 0.5


def test_the_other_ways_to_train_templated_rollouts(trained: Callable[[str], Path]) -> None:
    # What the token weights of every way do to the gradient is tested in test_verl_parity.py, without a run.
    importance, none, kept = (metrics(trained(name))[-1] for name in ("importance", "none", "keep all"))
    # Old log-probs on x: PPO's ratio is 1 in the first update. On T(x, z): it is not.
    assert abs(kept["actor/ppo_kl"]) < 1e-5
    assert importance["actor/ppo_kl"] > 1e-3
    # Whatever the mode, trainer and engine are compared on one prompt.
    assert all(step["training/rollout_probs_diff_max"] < 1e-4 for step in (importance, none, kept))
    stored = [row["input"] for row in rollouts(trained("none"), 1)]
    assert all(HINT in prompt for prompt in stored), "no distillation: trained on T(x, z)"
    assert abs(none["actor/ppo_kl"]) < 1e-5


def test_killed_inside_an_evolution_and_resumed(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS")  # the transfer queue of the killed run ends with its Ray
    process = start(tmp_path)
    journal = tmp_path / "checkpoints" / "p2o" / "evolution-001" / "rollouts.jsonl"
    while not (journal.exists() and len(journal.read_text().splitlines()) >= 3):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    calls = len(journal.read_text().splitlines())
    time.sleep(5)  # Ray's processes notice that theirs is gone
    run(tmp_path, [f"trainer.total_training_steps={2 * STEPS}"])
    assert len(journal.read_text().splitlines()) > calls, "the resumed run goes on with the journal"
    resumed, undisturbed = (state(out, 2 * STEPS) for out in (tmp_path, whole))
    assert resumed["loop"] == undisturbed["loop"]
    for phase, counts in undisturbed["cost"].items():
        if isinstance(counts, dict):
            assert {k: v for k, v in resumed["cost"][phase].items() if k != "seconds"} == {
                k: v for k, v in counts.items() if k != "seconds"
            }, phase
    assert distance(weights(tmp_path, 2 * STEPS), weights(whole, 2 * STEPS)) < 1e-4


def test_a_users_method_orders_the_samples_and_scaffolds_them(tmp_path: Path) -> None:
    changes = [f"+p2o.method={HERE}/user_methods.py:Hints", f"trainer.total_training_steps={2 * STEPS}"]
    run(tmp_path, changes)
    steps = metrics(tmp_path)
    assert [step["p2o/templated"] for step in steps] == [0, 0, 1, 1], "the second epoch draws hinted samples alone"
    assert steps[STEPS]["p2o/templated_success"] > 0.5
    assert steps[STEPS]["actor/grad_norm"] > 0
    for step in range(1, 2 * STEPS + 1):
        assert not any(HINT in row["input"] for row in rollouts(tmp_path, step)), "trained on the bare prompt"
    drawn = [prompts_of(tmp_path, step) for step in range(1, 2 * STEPS + 1)]
    assert len(set(drawn[0] + drawn[1])) == 16
    resumed = go_on_from(tmp_path, STEPS + 1, tmp_path / "resumed")
    run(resumed, changes)
    assert prompts_of(resumed, 2 * STEPS) == drawn[-1], "a run that is resumed within an epoch keeps its order"


def prompts_of(out: Path, step: int) -> list[str]:
    """The prompts of a batch, sorted; each stands there once for a sample."""
    return sorted(row["input"] for row in rollouts(out, step))[::6]


def test_a_plug_in_that_is_not_loaded_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS")  # whose processes have it
    monkeypatch.setenv("VERL_USE_EXTERNAL_PLUGINS", "none")
    assert start(tmp_path).wait() != 0
    assert "Unknown trainer 'p2o'" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trainer.v1.trainer_mode=sync", "set trainer.v1.trainer_mode=p2o"),
        ("p2o.reflector=openai", "needs reflector_model"),
        ("+trainer.gepa.enabled=True", "trainer.gepa is read by nothing"),
        ("actor_rollout_ref.rollout.agent.default_agent_loop=p2o", "names P²O itself"),
    ],
)
def test_a_setting_that_is_refused_ends_the_command_with_one_sentence(tmp_path: Path, change: str, says: str) -> None:
    assert start(tmp_path, [change]).wait() == 2
    log = (tmp_path / "log.txt").read_text()
    assert says in log
    assert log.strip().splitlines()[-1].startswith("p2o: ")
    assert "Traceback" not in log
