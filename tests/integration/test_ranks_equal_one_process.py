"""With the completions given, two ranks do what one process does: loss, gradient, ledger and mask, up to rounding."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import launch
from helpers import ALL_FOUR, make_trainer, rollout_batch

SCRIPT = Path(__file__).parents[1] / "support" / "given_completions.py"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Two files of 12 completions (3 samples × 4): drawn ones, and such that nothing on the second rank is alive."""
    out = tmp_path_factory.mktemp("given")
    trainer = make_trainer(out / "run", rows=3, per_device_train_batch_size=12, shuffle_dataset=False)
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    drawn = [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    wrong = [*trainer.processing_class("1")["input_ids"], trainer.processing_class.eos_token_id]
    (out / "drawn.json").write_text(json.dumps(drawn))
    (out / "idle.json").write_text(json.dumps(drawn[:4] + [wrong] * 8))
    return out


def step(given, kind, which, distillation="mask"):
    out = given / f"{which}-{kind}-{distillation}.pt"
    if not out.exists():
        launch.run(kind, SCRIPT, given / f"{which}.json", out, launch.KINDS[kind][0], distillation)
    return torch.load(out)


needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")
ZERO = [pytest.param(kind, marks=needs_deepspeed) for kind in ("zero2", "zero3")]


@pytest.mark.parametrize("which", ["drawn", "idle"])
@pytest.mark.parametrize("kind", ["ddp", "fsdp2", *ZERO])
def test_a_step_of_two_ranks_equals_one_process(given, kind, which):
    alone, ranks = step(given, "single", which), step(given, kind, which)
    assert (alone["world"], ranks["world"]) == (1, 2)
    assert ranks["sharded"] == (kind in ("fsdp2", "zero3"))
    assert ranks["ledger"] == alone["ledger"]
    assert len(ranks["advantages"]) == len(alone["advantages"]) == 12
    zeros = 0
    for left, right in zip(ranks["advantages"], alone["advantages"], strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
        assert [a == 0 for a in left] == [a == 0 for a in right]  # the ratio mask dropped the same tokens
        zeros += sum(a == 0 for a in left)
    assert zeros > 0
    assert ranks["ratio_tokens"] == pytest.approx(alone["ratio_tokens"], rel=1e-3)
    assert ranks["loss"] == pytest.approx(alone["loss"], rel=1e-3, abs=1e-6)
    assert abs(alone["loss"]) > 1e-4
    assert ranks["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-3)
    if "zero" not in kind:
        assert set(ranks["grads"]) == set(alone["grads"])
    for name, weights in alone["weights"].items():
        # Adam's first step is the learning rate 1e-3, whatever the gradient's size, and all noise where that is 0
        assert (ranks["weights"][name] - weights).abs().mean() < 1e-5, name
    for name, grad in alone["grads"].items() if "zero" not in kind else ():
        assert torch.allclose(ranks["grads"][name], grad, rtol=1e-3, atol=1e-6), name
    counted = [{k: v for k, v in r["cost"]["rollout"].items() if k != "seconds"} for r in (alone, ranks)]
    assert counted[0] == counted[1]
    scored = [r["cost"]["ratio"]["scored_tokens"] for r in (alone, ranks)]
    # with sharded weights a rank with fewer rows to score runs as many forwards as the other one
    assert scored[1] > scored[0] if ranks["sharded"] else scored[1] == scored[0]


@pytest.mark.parametrize("distillation", ["solved", "kl"])
def test_other_ways_of_distillation_on_two_ranks(given, distillation):
    alone, ranks = (step(given, kind, "drawn", distillation) for kind in ("single", "ddp"))
    assert ranks["loss"] == pytest.approx(alone["loss"], rel=1e-3, abs=1e-6)
    assert alone["loss"] != pytest.approx(step(given, "single", "drawn")["loss"], rel=1e-2)
    for name, grad in alone["grads"].items():
        assert torch.allclose(ranks["grads"][name], grad, rtol=1e-3, atol=1e-6), name


def test_kl_is_refused_with_sharded_weights(given):
    with pytest.raises(AssertionError, match="sharded over processes; take a method and a distillation without one"):
        step(given, "fsdp2", "drawn", "kl")


def test_in_the_idle_case_one_rank_has_nothing_to_train(given):
    alone = step(given, "single", "idle")
    alive = [any(a != 0 for a in row) for row in alone["advantages"]]
    assert any(alive[:4])
    assert not any(alive[4:])
    # 6 rows on each rank; the first keeps its live ones, the second as many dead ones
    assert step(given, "fsdp2", "idle")["skipped_rows"] == pytest.approx(1 - sum(alive) / 6)
