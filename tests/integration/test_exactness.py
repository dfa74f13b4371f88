"""Without templates a step is TRL's; with templates the gradient is GRPO's on the bare prompt with the ratio mask."""

import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers import ALL_FOUR, hard_rows, letters, log_probs, make_trainer, rollout_batch, settings
from p2o.core.credit import Credit
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model


def losses_and_weights(trainer):
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2, "steps_per_generation": 4}])
def test_three_steps_without_templates_equal_trl(tmp_path, changes):
    shared = {"max_steps": 3, **changes}
    rows = 8 if "steps_per_generation" not in changes else 16
    ours = make_trainer(tmp_path / "ours", letters, rows=rows, num_train_epochs=9, skip_dead_rows=False, **shared)
    our_losses, our_weights = losses_and_weights(ours)
    theirs = GRPOTrainer(
        resolve_model("builtin:sandbox"),
        letters,
        GRPOConfig(**settings(tmp_path / "theirs", num_train_epochs=9, **shared)),
        train_dataset=hard_rows(rows),
    )
    their_losses, their_weights = losses_and_weights(theirs)
    assert our_losses == their_losses
    assert len(our_losses) == 3
    assert any(abs(loss) > 1e-6 for loss in our_losses)  # something was learned
    for name, weights in their_weights.items():
        assert torch.equal(our_weights[name], weights), name


def test_three_steps_with_dead_rows_left_out_equal_trl_up_to_rounding(tmp_path):
    # Each is built just before it trains: building seeds the random numbers.
    full_losses, full = losses_and_weights(
        make_trainer(tmp_path / "full", letters, rows=8, max_steps=3, skip_dead_rows=False)
    )
    skipping = make_trainer(tmp_path / "skipping", letters, rows=8, max_steps=3)
    losses, weights = losses_and_weights(skipping)
    assert "p2o/skipped_rows" in str(skipping.state.log_history)
    assert losses == pytest.approx(full_losses, rel=1e-3, abs=1e-5)
    for name in full:
        # Adam moves every weight by up to the learning rate 1e-3 a step, whatever the gradient's size.
        assert torch.allclose(weights[name], full[name], rtol=0, atol=1e-4), name


def grads(trainer, batch):
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    return {n: p.grad.clone() for n, p in trainer.model.named_parameters()}


def gradient_by_hand(model, batch, weights_BT):
    """∇ of −Σ w·log π(y_t | x) / N, written out: N is the number of completion tokens (TRL's dapo)."""
    model.zero_grad()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
    logps = logits.gather(2, ids[:, 1:, None])[:, -batch["completion_ids"].size(1) :, 0]
    tokens = batch["completion_mask"]
    loss = -(weights_BT * logps * tokens).sum() / tokens.sum()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters()}


def close(left, right):
    return all(torch.allclose(left[n], right[n], rtol=1e-3, atol=1e-6) for n in left)


def test_templated_rollouts_are_trained_on_the_bare_prompt(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = rollout_batch(trainer, ALL_FOUR)
    prompts = trainer.processing_class.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    assert not any("Show your work" in p for p in prompts)
    # ... though they were drawn under it: bare, no hard sum is ever solved
    tallies = trainer.loop.ledger.tallies.values()
    assert sum(t.templated for t in tallies) == 16
    assert sum(t.templated_solved for t in tallies) >= 4


def test_fully_masked_batch_has_gradient_zero(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.loop.method.credit = lambda epoch: Credit(weights=lambda bare, *_: torch.zeros_like(bare))
    batch = rollout_batch(trainer, ALL_FOUR)
    assert all((g == 0).all() for g in grads(trainer, batch).values())


def test_keep_all_mask_is_grpo_on_bare_prompts_with_those_rollouts(tmp_path):
    trainer = make_trainer(tmp_path, distillation="no_mask")
    batch = rollout_batch(trainer, ALL_FOUR)
    advantages_B = batch["advantages"]
    assert advantages_B.dim() == 1
    assert (advantages_B != 0).any()
    ours = grads(trainer, batch)
    assert close(ours, gradient_by_hand(trainer.model, batch, advantages_B[:, None]))


def test_ratio_mask_by_hand(tmp_path):
    trainer = make_trainer(tmp_path, distillation="mask", ratio_low=0.1, ratio_high=2.0)
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    model, K = trainer.model, trainer.num_generations

    def logps(prompts):
        return log_probs(model, [trainer.processing_class(text)["input_ids"] for text in prompts], batch)

    questions = [row["prompt"][0]["content"] for row in trainer.rows.by_id.values() for _ in range(K)]
    bare = logps([f"<u>{q}<a>" for q in questions])
    under = logps([f"<u>{ALL_FOUR}\n\n{q}<a>" for q in questions])
    rewards = torch.tensor([float(t) for t in trainer._logs["rewards"]["last_number"]]).view(-1, K)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).view(-1)
    expected = torch.zeros(batch["completion_ids"].shape)
    dropped = 0
    for n in range(len(questions)):
        ratio = (bare[n] - under[n]).exp()
        keep = (ratio >= 0.1) & (ratio <= 2.0)
        if n % K == K - 1:
            keep = torch.ones_like(keep)  # the bare slot
        expected[n, : len(keep)] = advantages[n] * keep
        dropped += int((~keep).sum())
    assert dropped > 10
    tokens = batch["completion_mask"].bool()
    assert torch.allclose(batch["advantages"].masked_fill(~tokens, 0), expected, atol=1e-4)
    assert close(grads(trainer, batch), gradient_by_hand(model, batch, expected))


@pytest.mark.parametrize("skip", [False, True])
def test_the_loss_gives_the_weights_in_its_own_pass(tmp_path, skip):
    trainer = make_trainer(tmp_path, distillation="mask", ratio_low=0.1, ratio_high=2.0, skip_dead_rows=skip)
    batches = []
    for weighed in (False, True):
        torch.manual_seed(5)
        batches.append(rollout_batch(trainer, ALL_FOUR, bare_slots=1, weighed=weighed))
        assert bool(trainer.cost["ratio"].scored_tokens) is weighed  # without weights, no pass was made
    late, early = batches
    assert late["advantages"].dim() == 1
    assert (early["advantages"] == 0).any()
    assert close(grads(trainer, late), grads(trainer, early))
    assert len(trainer._metrics["train"]["p2o/ratio_q50"]) == 2


def solved_of(trainer):
    return torch.tensor(trainer._logs["rewards"]["last_number"]) == 1


def test_solved_mode_keeps_the_unlikely_tokens_of_solved_rollouts_alone(tmp_path):
    # At this bound every choice that the template asks for is too unlikely on the bare prompt.
    trainer = make_trainer(tmp_path, distillation="solved", ratio_low=0.1)
    batch = rollout_batch(trainer, ALL_FOUR)
    solved, tokens = solved_of(trainer), batch["completion_mask"].bool()
    zeros = ((batch["advantages"] == 0) & tokens).sum(1)
    mixed = batch["advantages"].abs().amax(1) > 0
    assert (mixed & solved).any()
    assert (mixed & ~solved).any()
    assert (zeros[mixed & solved] == 0).all()
    assert (zeros[mixed & ~solved] > 0).any()
    assert close(grads(trainer, batch), gradient_by_hand(trainer.model, batch, batch["advantages"]))


def test_the_kl_term_by_hand(tmp_path):
    trainer = make_trainer(tmp_path, distillation="kl", kl_weight=0.7, kl_top_k=5, kl_clip=3.0)
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    model, K = trainer.model, trainer.num_generations
    questions = [row["prompt"][0]["content"] for row in trainer.rows.by_id.values() for _ in range(K)]
    solved, tokens = solved_of(trainer), batch["completion_mask"].bool()
    assert solved.any()

    def tables(prompt, n):  # (T, V) log-probs at the completion's tokens
        ids = trainer.processing_class(prompt)["input_ids"]
        whole = torch.tensor([*ids, *batch["completion_ids"][n][tokens[n]].tolist()])[None]
        return model(whole).logits[0, len(ids) - 1 : -1].log_softmax(-1)

    ours = grads(trainer, batch)
    policy = gradient_by_hand(model, batch, batch["advantages"])
    model.zero_grad()
    total = torch.zeros(())
    for n, question in enumerate(questions):
        if not solved[n] or n % K == K - 1:
            continue
        teacher = tables(f"<u>{ALL_FOUR}\n\n{question}<a>", n).detach()
        student = tables(f"<u>{question}<a>", n)
        top = teacher.topk(5, dim=-1)
        p, q = top.values.exp(), student.gather(1, top.indices)
        rest_p, rest_q = (1 - p.sum(1)).clamp(min=1e-6), (1 - q.exp().sum(1)).clamp(min=1e-6)
        kl = (p * (top.values - q)).sum(1) + rest_p * (rest_p.log() - rest_q.log())
        total = total + 0.7 * torch.where(kl > 3.0, kl * (3.0 / kl.detach()), kl).sum()
    assert total > 1
    (total / tokens.sum()).backward()
    expected = {n: policy[n] + p.grad for n, p in model.named_parameters()}
    assert close(ours, expected)
    assert not close(ours, policy)


def test_groups_that_are_all_solved_are_trained_by_the_kl_term(tmp_path):
    trainer = make_trainer(tmp_path, lambda completions, **columns: [1.0] * len(completions), distillation="kl")
    batch = rollout_batch(trainer, ALL_FOUR)
    assert (batch["advantages"] == 0).all()
    assert trainer.skips_dead_rows
    assert any((g != 0).any() for g in grads(trainer, batch).values())


def test_kl_is_refused_where_it_has_no_logits(tmp_path):
    trainer = make_trainer(tmp_path, distillation="kl")
    trainer.model.config.logit_scale = 0.5
    del trainer.__dict__["_head"]
    with pytest.raises(ConfigError, match="logit_scale"):
        trainer.check_credit()


def test_soft_mode_damps_instead_of_dropping(tmp_path):
    trainer = make_trainer(tmp_path, distillation="soft", soft_max=3.0)
    batch = rollout_batch(trainer, ALL_FOUR)
    live = batch["advantages"].abs().amax(1) > 0
    weights = batch["advantages"][live] / batch["advantages"][live].abs().amax(1, keepdim=True)
    assert torch.isfinite(weights).all()
    assert (weights.abs() > 0).all()


def test_no_distillation_trains_on_the_templated_prompt(tmp_path):
    trainer = make_trainer(tmp_path, distillation="none")
    batch = rollout_batch(trainer, ALL_FOUR)
    prompts = trainer.processing_class.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    assert all("Show your work" in p for p in prompts)


def test_importance_mode_takes_old_log_probs_under_the_template(tmp_path):
    trainer = make_trainer(tmp_path, distillation="importance")
    batch = rollout_batch(trainer, ALL_FOUR, bare_slots=1)
    K = trainer.num_generations
    tokens = batch["completion_mask"].bool()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    bare = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, tokens.size(1))[0].detach()
    live = (batch["advantages"] != 0) & (torch.arange(len(ids)) % K != K - 1)
    old = batch["old_per_token_logps"]
    ratio = (bare - old)[live][:, 0].exp()
    assert (ratio < 0.5).any()  # the first choice is unlikely on the bare prompt
    is_bare = torch.arange(len(ids)) % K == K - 1
    assert torch.allclose(bare[is_bare][tokens[is_bare]], old[is_bare][tokens[is_bare]], atol=1e-4)


def test_failed_templated_rollouts_can_be_dropped(tmp_path):
    trainer = make_trainer(tmp_path, distillation="no_mask", drop_failed_template_rollout=True)
    batch = rollout_batch(trainer, ALL_FOUR)
    rewards = torch.tensor([float(r) for r in trainer._logs["rewards"]["last_number"]])
    assert (batch["advantages"][rewards == 0] == 0).all()
    assert (batch["advantages"] > 0).any()


def test_a_template_that_does_not_fit_is_refused_for_its_sample(tmp_path):
    trainer = make_trainer(tmp_path)
    context = trainer.model.config.max_position_embeddings
    rollout_batch(trainer, "Be careful. " * math.ceil(context / 12))
    tallies = trainer.loop.ledger.tallies.values()
    assert sum(t.templated for t in tallies) == 0
    assert trainer._metrics["train"]["p2o/context_overflow"] == [1.0]


def test_evaluation_never_uses_templates(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.loop.assignment = {i: [ALL_FOUR] * 4 for i in trainer.rows.by_id}
    trainer.eval_dataset = hard_rows(16)
    assert trainer.evaluate()["eval_bare_success"] <= 0.1
