"""vLLM as TRL drives it, on an engine whose log-probs are known: what templated rows get, and when weights go over."""

import pytest
import torch

import fake_vllm
from fake_vllm import MISMATCH
from helpers import ALL_FOUR, hard_rows, last_number, log_probs, make_trainer, rollout_batch
from p2o.generation.models import resolve_model
from p2o.reflectors import PhrasesReflector
from p2o.trl.engine import MIN_SEQUENCES

BANK = ["Show your work.", "Go from right to left.", "Carry the ones.", "State the total at the end."]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    from trl.generation import vllm_generation

    for name in ("is_vllm_available", "LLM", "SamplingParams", "VLLMClient"):
        monkeypatch.setattr(vllm_generation, name, None, raising=False)  # put back after the test
    fake_vllm.install(resolve_model("builtin:sandbox"))


def with_engine(out, **changes):
    return make_trainer(out, use_vllm=True, **changes)


def bare_and_templated_prompts(trainer, bare_slots):
    K = trainer.num_generations
    questions = [row["prompt"][0]["content"] for row in trainer.rows.by_id.values() for _ in range(K)]
    bare = [trainer.processing_class(f"<u>{q}<a>")["input_ids"] for q in questions]
    under = [trainer.processing_class(f"<u>{ALL_FOUR}\n\n{q}<a>")["input_ids"] for q in questions]
    is_bare = [n % K >= K - bare_slots for n in range(len(questions))]
    return bare, [b if plain else u for b, u, plain in zip(bare, under, is_bare, strict=True)], is_bare


@pytest.mark.parametrize("distillation", ["mask", "no_mask", "importance", "none"])
@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [
        ("sequence_mask", None, 3.0),
        ("sequence_truncate", 0.1, 1.5),
        ("token_mask", None, 1.25),
        ("token_truncate", 1.1, 1.25),
    ],
)
def test_templated_rows_are_corrected_by_the_trainers_log_probs_under_the_template(
    tmp_path, mode, low, high, distillation
):
    trainer = with_engine(
        tmp_path,
        vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_min=low,
        vllm_importance_sampling_clip_max=high,
        distillation=distillation,
    )
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    _, drawn_from, is_bare = bare_and_templated_prompts(trainer, bare_slots=1)
    trainers = log_probs(trainer.model, drawn_from, batch)
    found = batch["importance_sampling_ratio"]
    checked = 0
    for n, logps in enumerate(trainers):
        if not (batch["advantages"][n] != 0).any() and not is_bare[n]:
            continue  # without advantage the correction has nothing to weigh
        # what the engine reports is less by (t + 1) · MISMATCH, so that log r_t is just that
        reported = logps - MISMATCH * torch.arange(1, len(logps) + 1)
        log_r = logps - reported
        ratio = (log_r.sum(0, keepdim=True) if "sequence" in mode else log_r).exp()
        expected = ratio.clamp(low, high) if "truncate" in mode else ratio * (ratio <= high)
        row = found[n] if "sequence" in mode else found[n, : len(logps)]
        assert torch.allclose(row, expected, rtol=1e-3), (n, row, expected)
        checked += not is_bare[n]
    assert checked >= 4
    tokens = [int(m.sum()) for m in batch["completion_mask"]]
    sums = {round(MISMATCH * T * (T + 1) / 2, 4) for T in tokens}
    assert len(sums) > 1  # short and long completions: some above the bound, some below


def test_the_correction_by_log_probs_on_the_bare_prompt_would_be_another_one(tmp_path):
    trainer = with_engine(tmp_path, vllm_importance_sampling_mode="token_truncate")
    batch = rollout_batch(trainer, ALL_FOUR)
    bare, under, _ = bare_and_templated_prompts(trainer, bare_slots=0)
    n = int((batch["advantages"] != 0).any(1).nonzero()[0])
    on_x, on_t = log_probs(trainer.model, bare, batch)[n], log_probs(trainer.model, under, batch)[n]
    reported = on_t - MISMATCH * torch.arange(1, len(on_t) + 1)
    wrong, right = (on_x - reported).exp(), (on_t - reported).exp()
    found = batch["importance_sampling_ratio"][n, : len(on_t)]
    assert torch.allclose(found, right.clamp(max=3.0), rtol=1e-3)
    assert (wrong - right).abs().max() > 0.3


def test_old_less_sampling_log_probs_are_the_engines_mismatch_in_every_row(tmp_path):
    trainer = with_engine(tmp_path)
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    difference = batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
    live = (batch["advantages"] != 0).any(1)
    for n in live.nonzero()[:, 0].tolist():
        T = int(batch["completion_mask"][n].sum())
        assert torch.allclose(difference[n, :T], MISMATCH * torch.arange(1, T + 1), atol=1e-3)
    metrics = trainer._metrics["train"]
    longest = max(int(batch["completion_mask"][n].sum()) for n in live.nonzero()[:, 0])
    assert metrics["p2o/engine_logp_difference/max"] == [pytest.approx(MISMATCH * longest, rel=1e-2)]


def test_the_loss_is_weighed_by_mask_and_correction(tmp_path):
    bounds = {"distillation": "mask", "ratio_low": 0.1, "ratio_high": 2.0}
    trainer = with_engine(tmp_path, vllm_importance_sampling_mode="token_truncate", **bounds)
    batch = rollout_batch(trainer, ALL_FOUR)
    bare, under, _ = bare_and_templated_prompts(trainer, bare_slots=0)
    K = trainer.num_generations
    rewards = torch.tensor([float(t) for t in trainer._logs["rewards"]["last_number"]]).view(-1, K)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).view(-1)
    on_x, on_t = log_probs(trainer.model, bare, batch), log_probs(trainer.model, under, batch)
    total = 0.0
    for n, (x, t) in enumerate(zip(on_x, on_t, strict=True)):
        r = (x - t).exp()
        mask = (r >= 0.1) & (r <= 2.0)
        correction = (MISMATCH * torch.arange(1, len(x) + 1)).exp().clamp(max=3.0)
        total -= (advantages[n] * mask * correction).sum()  # π / π_old is 1 in the first step
    loss = trainer._compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx((total / batch["completion_mask"].sum()).item(), rel=1e-3, abs=1e-5)
    assert abs(loss.item()) > 1e-3


def test_without_the_correction_no_ratio_is_computed(tmp_path):
    trainer = with_engine(tmp_path, vllm_importance_sampling_correction=False)
    batch = rollout_batch(trainer, ALL_FOUR)
    assert "importance_sampling_ratio" not in batch
    assert torch.isfinite(trainer._compute_loss(trainer.model, batch))


@pytest.mark.parametrize(("template", "n", "prompts"), [("", 4, 4), (ALL_FOUR, 1, 16)])
def test_a_server_is_asked_once_for_each_templated_rollout(tmp_path, template, n, prompts):
    trainer = with_engine(tmp_path, vllm_mode="server")
    batch = rollout_batch(trainer, template, bare_slots=1)
    call = fake_vllm.engine().calls[-1]
    assert call.n == n  # bare groups share a prompt, the prompts of a templated group differ
    assert len(call.prompts) == prompts
    texts = trainer.processing_class.batch_decode(call.prompts)
    assert sum(ALL_FOUR in text for text in texts) == (12 if template else 0)
    assert len(batch["completion_ids"]) == 16


def test_a_colocated_engine_has_room_for_an_evolution_and_caches_prefixes(tmp_path):
    with_engine(tmp_path, per_device_train_batch_size=16)
    settings = fake_vllm.LLM.made[-1].settings
    assert settings["max_num_seqs"] == MIN_SEQUENCES  # TRL alone: 16, one training batch
    assert settings.get("enable_prefix_caching") in (None, True)  # None: vLLM's default, which is on


def test_a_larger_batch_keeps_its_size(tmp_path):
    with_engine(tmp_path, per_device_train_batch_size=16, steps_per_generation=32, rows=128)
    assert fake_vllm.LLM.made[-1].settings["max_num_seqs"] == 512


def alternating(completions, **kwargs):
    """Spread in every group, so that the weights move before the first evolution too."""
    return [0.1 * (n % 2) for n in range(len(completions))]


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_every_rollout_is_drawn_with_the_current_weights(tmp_path, mode):
    trainer = with_engine(
        tmp_path,
        reward=[last_number, alternating],
        rows=12,
        vllm_mode=mode,
        vllm_importance_sampling_mode="token_truncate",
        reflector=PhrasesReflector(BANK, max_phrases=4),
        num_train_epochs=2,
        hard_min_count=4,
        dev_size=6,
        evolve_budget="60",
        evolve_batch_size=4,
        fill_proposals=True,
        evolve_parents=8,
    )
    engine, drawn = fake_vllm.engine(), []
    sample = engine.sample

    def watched(prompts, *args):
        now = trainer.model.state_dict()
        stale = [name for name, value in engine.model.state_dict().items() if not torch.equal(value, now[name])]
        phase = "rollout" if trainer._batch is not None else "evolve" if not trainer.model.training else "other"
        drawn.append((phase, len(prompts), trainer.state.global_step, stale))
        return sample(prompts, *args)

    engine.sample = watched
    trainer.train()
    assert [stale for *_, stale in drawn if stale] == []
    evolved = [(count, step) for phase, count, step, _ in drawn if phase == "evolve"]
    assert {step for _, step in evolved} == {3}  # between the epochs, after the first one's last step
    # a burst is one call: a dev evaluation of all new candidates, not one evolve_batch_size after the other
    assert max(count for count, _ in evolved) > 4
    first, then = (engine.calls[n].weights for n in (0, 3))  # a call a step, then the evolution's
    assert any(not torch.equal(first[name], then[name]) for name in first)
    assert engine.resets >= 6  # one for each optimizer step: what is cached belongs to other weights


def test_an_evaluation_after_training_uses_the_weights_that_were_loaded_then(tmp_path):
    trainer = with_engine(tmp_path, rows=8, max_steps=2)
    trainer.eval_dataset = hard_rows(4)
    trainer.train()
    trainer.evaluate()
    with torch.no_grad():  # as load_best_model_at_end does, at the same step
        for weights in trainer.model.parameters():
            weights.mul_(0.5)
    trainer.evaluate()
    held = fake_vllm.engine().calls[-1].weights
    assert all(torch.equal(held[name], value) for name, value in trainer.model.state_dict().items())
