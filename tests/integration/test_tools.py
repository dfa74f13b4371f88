"""Tools and environments: without templates a step is TRL's; with templates every turn is drawn from T(x, z) and the
turns so far, and trained on the bare prompt, with nothing from a tool's tokens."""

import asyncio
import time

import pytest
import torch
from trl import GRPOTrainer

import tool_world
from helpers import rollout_batch, settings
from p2o import P2OConfig, P2OTrainer
from p2o.core.turns import transcript
from p2o.errors import P2OError
from tool_world import ROOMS, TEMPLATE, TOOLS, Room, look, ours, theirs, tool_rows

KINDS = {"tools": TOOLS, "environment": ROOMS, "environments": tool_world.SEVERAL}
SLOTS = [TEMPLATE] * 3 + [""]


def losses_and_weights(trainer):
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, {n: p.detach().clone() for n, p in trainer.model.named_parameters()}, trainer.state.log_history


@pytest.mark.parametrize("kind", KINDS)
def test_three_steps_without_templates_equal_trl(tmp_path, kind):
    shared = {"rows": 8, "max_steps": 3, "num_train_epochs": 9}
    our_losses, our_weights, log = losses_and_weights(
        ours(tmp_path / "ours", KINDS[kind], skip_dead_rows=False, **shared)
    )
    their_losses, their_weights, _ = losses_and_weights(theirs(tmp_path / "theirs", KINDS[kind], **shared))
    assert our_losses == their_losses
    assert len(our_losses) == 3
    assert any(abs(loss) > 1e-6 for loss in our_losses)
    assert all(row["tools/call_frequency"] > 0.2 for row in log if "loss" in row)
    for name, weights in their_weights.items():
        assert torch.equal(our_weights[name], weights), name


def prompts_of(trainer, batch):
    """(bare, templated) ids of each row's prompt, rendered anew here."""
    texts = [trainer._tokenizer.decode(ids[mask.bool()]).replace(" ", "") for ids, mask in
             zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)]  # fmt: skip
    bare = [ids[mask.bool()].tolist() for ids, mask in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)]
    assert all(text.startswith("<u>task") for text in texts)
    head = trainer._tokenizer(f"<u>{TEMPLATE}\n\n")["input_ids"]
    return bare, [head + ids[1:] for ids in bare]


def token_logps(model, prompt, completion):
    """(T,) log π(y_t | prompt, y_<t) with gradient."""
    whole = torch.tensor([*prompt, *completion])[None]
    table = model(whole).logits[0, :-1].log_softmax(-1)
    return table.gather(1, whole[0, 1:, None])[-len(completion) :, 0]


def completions_of(batch):
    return [
        ids[mask.bool()].tolist() for ids, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_turn_is_drawn_from_the_template_and_the_turns_so_far(tmp_path, kind, monkeypatch):
    trainer = ours(tmp_path, KINDS[kind])
    asked = []
    generate = GRPOTrainer._generate_single_turn
    monkeypatch.setattr(
        GRPOTrainer,
        "_generate_single_turn",
        lambda self, ids, *more, **options: (
            asked.append([list(i) for i in ids]) or generate(self, ids, *more, **options)
        ),
    )
    batch = rollout_batch(trainer, TEMPLATE, bare_slots=1)
    bare, templated = prompts_of(trainer, batch)
    drawn_from = [bare[n] if n % 4 == 3 else templated[n] for n in range(len(bare))]
    completions = completions_of(batch)
    assert asked[0] == drawn_from
    later = [ids for call in asked[1:] for ids in call]
    assert len(later) > 2
    for ids in later:
        matching = [n for n, prompt in enumerate(drawn_from) if ids[: len(prompt)] == prompt
                    and completions[n][: len(ids) - len(prompt)] == ids[len(prompt) :]]  # fmt: skip
        assert matching, trainer._tokenizer.decode(ids)
    assert sum(len(call) < 12 for call in asked[1:]) > 0  # a subset of the rows


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_by_hand(tmp_path, kind, plain):
    options = {} if plain else {"generation_kwargs": {"num_beams": 1, "use_cache": True, "repetition_penalty": 1.0001}}
    trainer = ours(tmp_path, KINDS[kind], distillation="mask", ratio_low=0.99, ratio_high=1.01, **options)
    batch = rollout_batch(trainer, TEMPLATE, bare_slots=1)
    model, K = trainer.model, trainer.num_generations
    bare, templated = prompts_of(trainer, batch)
    completions, tools = completions_of(batch), (batch["tool_mask"] == 0) & batch["completion_mask"].bool()
    assert tools.any(1).sum() >= 2
    totals = list(trainer._logs["rewards"].values())
    rewards = torch.tensor([[r for r in row if r == r] for row in zip(*totals, strict=True)]).sum(1).view(-1, K)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).view(-1)

    seen, logps_of = [], trainer._get_per_token_logps_and_entropies

    def watched(*args, **options):
        found = logps_of(*args, **options)
        found[0].retain_grad()
        seen.append(found[0])
        return found

    trainer._get_per_token_logps_and_entropies = watched
    trainer.args.skip_dead_rows = False
    model.zero_grad()
    trainer._compute_loss(model, batch).backward()
    ours_grad = {n: p.grad.clone() for n, p in model.named_parameters()}
    assert (seen[0].grad[tools] == 0).all()
    assert (seen[0].grad != 0).any()

    model.zero_grad()
    total, count, dropped = torch.zeros(()), 0, 0
    for n, completion in enumerate(completions):
        own = batch["tool_mask"][n, : len(completion)].bool()
        logps = token_logps(model, bare[n], completion)
        weights = torch.ones(len(completion))
        if n % K != K - 1:
            ratio = (logps - token_logps(model, templated[n], completion)).exp().detach()
            weights = ((ratio >= 0.99) & (ratio <= 1.01)).float()
            dropped += int((weights[own] == 0).sum())
        total = total - (advantages[n] * weights * logps)[own].sum()
        count += int(own.sum())
    (total / count).backward()
    assert dropped > 5
    for name, parameter in model.named_parameters():
        assert torch.allclose(ours_grad[name], parameter.grad, rtol=1e-3, atol=1e-6), name


def test_the_kl_term_leaves_a_tools_tokens_out(tmp_path):
    trainer = ours(tmp_path, TOOLS, distillation="kl", success_threshold=0.2)
    batch = rollout_batch(trainer, TEMPLATE)
    solved = torch.tensor(trainer._logs["rewards"]["vowels"]) >= 0.2
    own = batch["completion_mask"] * batch["tool_mask"]
    assert (own[solved] < batch["completion_mask"][solved]).any()
    assert torch.equal(batch["teacher_mask"], own * solved[:, None])


@pytest.mark.parametrize("distillation", ["importance", "none"])
def test_old_log_probs_under_the_template(tmp_path, distillation):
    trainer = ours(tmp_path, TOOLS, distillation=distillation, gradient_accumulation_steps=2, steps_per_generation=4,
                   per_device_train_batch_size=4)  # fmt: skip
    batch = rollout_batch(trainer, TEMPLATE)
    completions, own = completions_of(batch), (batch["completion_mask"] * batch["tool_mask"]).bool()
    if distillation == "none":  # the gradient's own prompt is T(x, z)
        templated = [ids[m.bool()].tolist() for ids, m in zip(batch["prompt_ids"], batch["prompt_mask"], strict=True)]
        head = trainer._tokenizer(f"<u>{TEMPLATE}")["input_ids"]
        assert all(ids[: len(head)] == head for ids in templated)
    else:
        _, templated = prompts_of(trainer, batch)
    for n, completion in enumerate(completions):
        if not batch["advantages"][n].any():
            continue
        expected = token_logps(trainer.model, templated[n], completion).detach()
        found = batch["old_per_token_logps"][n, : len(completion)]
        where = own[n, : len(completion)]
        assert torch.allclose(found[where], expected[where], atol=1e-4), n


def test_dead_rows_are_left_out(tmp_path):
    trainer = ours(tmp_path, TOOLS)
    batch = rollout_batch(trainer, TEMPLATE, bare_slots=1)
    batch["advantages"][:9] = 0
    results = []
    for skip in (False, True):
        trainer.args.skip_dead_rows = skip
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        results.append((loss.item(), [p.grad.clone() for p in trainer.model.parameters()]))
    assert trainer._metrics["train"]["p2o/skipped_rows"] == [pytest.approx(9 / 16)]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4, abs=1e-7)
    for full, skipped in zip(results[0][1], results[1][1], strict=True):
        assert torch.allclose(full, skipped, rtol=1e-3, atol=1e-7)


# --- between the steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rollouts_between_the_steps_are_those_of_trls_loop(tmp_path, kind):
    trainer = ours(tmp_path / "ours", KINDS[kind])
    trainer.model.eval()
    trainer.args.evolve_batch_size = 3
    rows = list(trainer.rows.by_id.values())
    texts = [r.completion for r in trainer.roll_out([(TEMPLATE, row) for row in rows], 0.0)]
    drawn = []

    def noted(completions, **columns):
        drawn.extend(completions)
        return tool_world.vowels(completions)

    other = theirs(tmp_path / "theirs", KINDS[kind], reward=noted, generation_kwargs={"do_sample": False})
    other.model.train()
    other.current_gradient_accumulation_steps = 1
    inputs = [{name: value for name, value in row.items() if name != "sample_id"} for row in rows for _ in range(4)]
    for row in inputs:  # TRL's trainer, with the template in the data
        row["prompt"] = [{"role": "user", "content": f"{TEMPLATE}\n\n{row['prompt'][0]['content']}"}]
    other._generate_and_score_completions(inputs)
    expected = [transcript(turns) for turns in drawn][::4]
    assert [text.split("\n\n", 1)[1] if text.startswith("[environment]") else text for text in texts] == expected
    assert any("[result of look]" in text for text in texts)


def test_training_s_environments_are_not_touched_between_the_steps(tmp_path):
    trainer = ours(tmp_path, ROOMS)
    rollout_batch(trainer, TEMPLATE)
    held = list(trainer.environments)
    looks = [room.looks for room in held]
    trainer.model.eval()
    rollouts = trainer.roll_out([("", row) for row in trainer.rows.by_id.values()], 1.0)
    assert trainer.environments == held
    assert [room.looks for room in held] == looks
    assert not set(map(id, held)) & {id(room) for pool in trainer.toolbox.pools.values() for room in pool}
    assert all(r.feedback.endswith("looks") for r in rollouts)
    assert all(r.completion.startswith("[environment]  in room") for r in rollouts)


def test_what_is_counted(tmp_path, monkeypatch):
    read, written = [0], [0]
    generate = GRPOTrainer._generate_single_turn

    def counted(self, ids, *more, **options):
        completions, logps = generate(self, ids, *more, **options)
        read[0] += sum(map(len, ids))
        written[0] += sum(map(len, completions))
        return completions, logps

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", counted)
    trainer = ours(tmp_path, TOOLS)
    rollout_batch(trainer, TEMPLATE, bare_slots=1)
    cost = trainer.cost["rollout"]
    assert (cost.rollouts, cost.prompt_tokens, cost.generated_tokens) == (16, read[0], written[0])
    tallies = trainer.loop.ledger.tallies.values()
    assert (sum(t.bare for t in tallies), sum(t.templated for t in tallies)) == (4, 12)
    figures = trainer._metrics["train"]
    assert figures["p2o/tool_calls/templated"][0] > 0
    assert 0 < figures["p2o/tool_failures/templated"][0] < 1


def hangs(seconds: float) -> str:
    time.sleep(seconds)
    return "late"


def a_slow_look() -> str:
    """Looks at the door."""
    return hangs(30)


async def a_slow_wait() -> str:
    """Looks at the door."""
    await asyncio.sleep(30)
    return "late"


class SlowRoom(Room):
    def look(self) -> str:
        """Looks at the room."""
        return hangs(30)


@pytest.mark.parametrize("kind", ["tool", "coroutine", "environment"])
def test_a_tool_that_hangs_has_failed_and_training_continues(tmp_path, kind):
    tool = a_slow_look if kind == "tool" else a_slow_wait
    tool.__name__ = "look"
    given = {"environment_factory": SlowRoom} if kind == "environment" else {"tools": [tool]}
    trainer = ours(tmp_path, given, tool_timeout=0.05, max_tool_calling_iterations=1, max_completion_length=300)
    began = time.monotonic()
    batch = rollout_batch(trainer, TEMPLATE, bare_slots=1)
    texts = trainer._tokenizer.batch_decode(batch["completion_ids"])
    assert any("didnotreturnwithin0.05s" in text.replace(" ", "") for text in texts)
    trainer.model.eval()
    rollouts = trainer.roll_out([("", row) for row in trainer.rows.by_id.values()], 1.0)
    assert any("did not return within 0.05 s" in rollout.completion for rollout in rollouts)
    assert time.monotonic() - began < 20


# --- rewards of environments ---------------------------------------------------------------------------------------


def test_an_environment_alone_scores_and_says_what_solved_means(tmp_path):
    trainer = ours(tmp_path, tool_world.SEVERAL, reward=None, success_threshold=0.25)
    rollout_batch(trainer, TEMPLATE)
    solved = sum(t.templated_solved for t in trainer.loop.ledger.tallies.values())
    looked = sum(room.looks > 0 for room in trainer.environments)
    assert solved == looked > 0


def test_a_row_without_a_prompt_is_one_whose_environment_says_the_task(tmp_path):
    trainer = ours(tmp_path, ROOMS, dataset=tool_rows(4).remove_columns("prompt"))
    batch = rollout_batch(trainer, TEMPLATE)
    texts = trainer._tokenizer.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    assert "in room 2".replace(" ", "") in texts[8].replace(" ", "")
    assert len(trainer.rows.by_id) == 4
    trainer.model.eval()
    assert len(trainer.roll_out([(TEMPLATE, row) for row in trainer.rows.by_id.values()], 0.0)) == 4


def test_an_environment_may_own_the_data(tmp_path):
    tokenizer = tool_world.build_tokenizer()
    trainer = P2OTrainer(
        tool_world.build_model(tokenizer),
        args=P2OConfig(**{**settings(tmp_path, max_completion_length=100), "max_steps": 2}),
        processing_class=tokenizer,
        environment_factory=Room,
    )
    assert len(trainer.rows.by_id) == 4
    batch = rollout_batch(trainer, TEMPLATE)
    assert "in room 0".replace(" ", "") in tokenizer.decode(batch["prompt_ids"][0]).replace(" ", "")


# --- refused -------------------------------------------------------------------------------------------------------


def test_refused_each_with_its_sentence(tmp_path):
    plain = tool_rows(4).map(lambda row: {"prompt": row["prompt"][0]["content"]})
    with pytest.raises(P2OError, match="tools need chats"):
        ours(tmp_path, TOOLS, dataset=plain)
    with pytest.raises(P2OError, match="no column 'prompt'"):
        ours(tmp_path, TOOLS, dataset=tool_rows(4).remove_columns("prompt"))
    trainer = ours(tmp_path, tool_world.SEVERAL)
    with pytest.raises(P2OError, match="environment 'cellar'"):
        trainer.roll_out([("", {**next(iter(trainer.rows.by_id.values())), "environment": "cellar"})], 0.0)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "`train_dataset` is required"),
        ({"environment_factory": Room}, "max_steps"),
        (tool_world.SEVERAL, "requires a `train_dataset`"),
        ({"train_dataset": [{"prompt": "a"}]}, "must be a `Dataset`"),
    ],
)
def test_without_a_data_set_trl_says_what_is_wrong(tmp_path, given, error):
    tokenizer = tool_world.build_tokenizer()
    with pytest.raises((ValueError, TypeError), match=error):
        P2OTrainer(
            tool_world.build_model(tokenizer),
            tool_world.vowels,
            P2OConfig(**settings(tmp_path)),
            processing_class=tokenizer,
            **given,
        )


def test_a_template_that_does_not_fit_leaves_its_rollout_bare(tmp_path):
    trainer = ours(tmp_path, TOOLS)
    rollout_batch(trainer, "look. " * 90)
    assert sum(t.templated for t in trainer.loop.ledger.tallies.values()) == 0
    trainer.model.eval()
    assert not any(r.fits for r in trainer.roll_out([("look. " * 90, row) for row in trainer.rows.by_id.values()], 0.0))
    assert look() == "door 7 is shut"
