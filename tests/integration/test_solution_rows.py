"""The rows of the methods that need solutions, on the built-in policy: they are what the equations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import log_probs, make_trainer, with_weights

K = 4


class Drawn:
    """One batch of all samples, as the trainer prepares it for the loss, with the method in the state that is set."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, loop = trainer, trainer.loop
        loop.assignment = loop._assignment()
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        rows = [dict(row) for row in trainer.rows.by_id.values() for _ in range(K)]
        self.samples = [loop.samples[row["sample_id"]] for row in rows]
        self.output = with_weights(trainer, trainer._generate_and_score_completions(rows))
        self.tokens = self.output["completion_mask"].bool()
        self.bare = [self.ids_of(sample.question) for sample in self.samples]

    def ids_of(self, text: str) -> list[int]:
        return self.trainer._tokenizer(f"<u>{text}<a>")["input_ids"]

    def prompts(self) -> list[list[int]]:
        ids, masks = self.output["prompt_ids"], self.output["prompt_mask"].bool()
        return [row[mask].tolist() for row, mask in zip(ids, masks, strict=True)]

    def completion(self, n: int) -> list[int]:
        return self.output["completion_ids"][n][self.tokens[n]].tolist()

    def advantages(self, n: int) -> torch.Tensor:
        """(T,) of one row's tokens."""
        own = self.output["advantages"][n]
        return own.expand(self.tokens.size(1))[self.tokens[n]]

    def solved(self) -> list[bool]:
        texts = self.trainer._tokenizer.batch_decode(self.output["completion_ids"], skip_special_tokens=True)
        return [text.replace(";", " ").split()[-1:] == [s.answer] for text, s in zip(texts, self.samples, strict=True)]

    def gradient(self) -> dict[str, torch.Tensor]:
        self.trainer.model.zero_grad()
        self.trainer._compute_loss(self.trainer.model, self.output).backward()
        return {n: p.grad.clone() for n, p in self.trainer.model.named_parameters()}

    def table(self, prompt: list[int], n: int) -> torch.Tensor:
        """(T, V) log-probs at the tokens of a row's completion."""
        whole = torch.tensor([*prompt, *self.completion(n)])[None]
        return self.trainer.model(whole).logits[0, len(prompt) - 1 : -1].log_softmax(-1)


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(ours[n], theirs[n], rtol=1e-3, atol=1e-5) for n in theirs)


def steps(sample: Any, count: int) -> str:
    return "\n".join(sample.columns["solution_steps"][:count])


@pytest.mark.parametrize("method", ["prefix", "sage"])
def test_the_beginning_of_the_solution_is_drawn_from_and_trained_on(tmp_path: Path, method: str) -> None:
    trainer = make_trainer(tmp_path, method=method)
    trainer.loop.method.levels = dict(zip(trainer.loop.samples, [4, 3, 1, 0], strict=True))
    drawn = Drawn(trainer)
    heading = type(trainer.loop.method).heading
    levels = [trainer.loop.method.levels[sample.id] for sample in drawn.samples]
    shown = [
        f"{heading}\n{steps(s, level)}\n\n" if level else "" for s, level in zip(drawn.samples, levels, strict=True)
    ]
    assert drawn.prompts() == [drawn.ids_of(z + s.question) for z, s in zip(shown, drawn.samples, strict=True)]
    assert sum(drawn.solved()[:K]) >= 2  # all four steps
    assert drawn.output["advantages"].dim() == 1  # plain GRPO on this prompt
    old = drawn.output.get("old_per_token_logps")
    assert old is None  # as in GRPO: the first update is on-policy


@pytest.mark.parametrize("method", ["scaf", "scaf_sft", "scaf_shape"])
def test_the_last_row_of_a_failed_group_is_drawn_under_a_hint(tmp_path: Path, method: str) -> None:
    trainer = make_trainer(tmp_path, method=method)
    hints = {i: f"A hint:\n{steps(sample, 4)}" for i, sample in trainer.loop.samples.items()}
    trainer.loop.method.hints = hints
    drawn = Drawn(trainer)
    assert drawn.prompts() == drawn.bare
    hinted = [drawn.ids_of(f"{hints[s.id]}\n\n{s.question}") for s in drawn.samples]
    on_bare, under_hint = (log_probs(trainer.model, ids, drawn.output) for ids in (drawn.bare, hinted))
    solved = drawn.solved()
    assert sum(solved[K - 1 :: K]) >= 2
    for n in range(K - 1, 4 * K, K):
        if not solved[n]:
            assert not drawn.advantages(n).any()
            continue
        assert not any(solved[n - K + 1 : n])
        weight = {
            "scaf": (on_bare[n] - under_hint[n]).sum().clamp(-5, 5).exp(),
            "scaf_sft": torch.ones(()),
            "scaf_shape": 0.1 * on_bare[n].exp() / (on_bare[n].exp() + 0.1) ** 2,
        }[method]
        expected = 0.75 / (0.5 + 1e-4) * weight.expand(len(on_bare[n]))  # one of four rows has reward 1
        assert torch.allclose(drawn.advantages(n), expected, rtol=1e-3)
        assert torch.allclose(drawn.advantages(n - 1), torch.tensor(-0.25 / (0.5 + 1e-4)))


def test_the_last_row_of_each_group_is_the_solution(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, method="luffy")
    drawn = Drawn(trainer)
    assert drawn.prompts() == drawn.bare
    on_bare = log_probs(trainer.model, drawn.bare, drawn.output)
    for n, sample in enumerate(drawn.samples):
        if n % K < K - 1:  # failed, as all rollouts do: -1/4 over the standard deviation 1/2
            assert torch.allclose(drawn.advantages(n), torch.tensor(-0.25 / (0.5 + 1e-4)))
            continue
        written = trainer._tokenizer(sample.columns["solution"])["input_ids"]
        assert drawn.completion(n) == [*written, trainer._tokenizer.eos_token_id]
        p_T = on_bare[n].exp()
        assert torch.allclose(drawn.advantages(n), 0.75 / (0.5 + 1e-4) * 0.1 * p_T / (p_T + 0.1) ** 2, rtol=1e-3)
    for tally in trainer.loop.ledger.tallies.values():
        assert (tally.bare, tally.bare_solved, tally.templated, tally.spread) == (3, 0, 0, True)
    rollouts = [n for n in range(4 * K) if n % K < K - 1]
    assert trainer.cost["rollout"].generated_tokens == int(drawn.output["completion_mask"][rollouts].sum())


def test_a_solution_that_is_too_long_is_not_given(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, method="luffy", max_completion_length=40)
    Drawn(trainer)
    short = {i for i, sample in trainer.loop.samples.items() if len(sample.columns["solution"]) < 40}
    assert 0 < len(short) < 4
    assert {i for i, tally in trainer.loop.ledger.tallies.items() if tally.bare == K - 1} == short


def test_solved_privileged_rollouts_teach_by_forward_kl_alone(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, method="hdpo", kl_weight=0.7, kl_top_k=5, kl_clip=3.0)
    trainer.loop.method.failed = set(list(trainer.loop.samples)[:2])
    drawn = Drawn(trainer)
    solved = drawn.solved()
    assert sum(solved[: 2 * K]) >= 4
    assert drawn.prompts() == drawn.bare
    assert not drawn.output["advantages"][: 2 * K].any()
    ours = drawn.gradient()
    trainer.model.zero_grad()
    total = torch.zeros(())
    for n in (n for n in range(2 * K) if solved[n]):
        sample = drawn.samples[n]
        teacher = drawn.table(
            drawn.ids_of(f"A solution of the question below:\n{steps(sample, 4)}\n\n{sample.question}"), n
        )
        total = total + 0.7 * by_hand(drawn.table(drawn.bare[n], n), teacher.detach(), False, 5, 3.0)
    (total / drawn.tokens.sum()).backward()
    assert not drawn.output["advantages"].any()  # the other samples all failed too
    assert close(ours, {n: p.grad for n, p in trainer.model.named_parameters()})


@pytest.mark.parametrize("method", ["sdft", "opsd"])
def test_bare_rollouts_are_taught_by_the_policy_with_the_solution(tmp_path: Path, method: str) -> None:
    trainer = make_trainer(tmp_path, method=method, kl_weight=0.7, kl_top_k=5, kl_clip=3.0)
    drawn = Drawn(trainer)
    assert drawn.prompts() == drawn.bare
    assert not drawn.output["advantages"].any()
    ours = drawn.gradient()
    trainer.model.zero_grad()
    total = torch.zeros(())
    for n, sample in enumerate(drawn.samples):
        teacher = drawn.table(
            drawn.ids_of(f"A solution of the question below:\n{steps(sample, 4)}\n\n{sample.question}"), n
        )
        total = total + 0.7 * by_hand(drawn.table(drawn.bare[n], n), teacher.detach(), method == "sdft", 5, 3.0)
    assert total > 1
    (total / drawn.tokens.sum()).backward()
    assert close(ours, {n: p.grad for n, p in trainer.model.named_parameters()})


def by_hand(student_TV: torch.Tensor, teacher_TV: torch.Tensor, reverse: bool, top: int, clip: float) -> torch.Tensor:
    """Σ_t KL over the teacher's likeliest tokens and all others as one, at most ``clip`` for a token."""
    best = teacher_TV.topk(top, dim=-1)
    p, q = best.values.exp(), student_TV.gather(1, best.indices).exp()
    p = torch.cat([p, (1 - p.sum(1, keepdim=True)).clamp(min=1e-6)], 1)
    q = torch.cat([q, (1 - q.sum(1, keepdim=True)).clamp(min=1e-6)], 1)
    kl_T = (q * (q.log() - p.log())).sum(1) if reverse else (p * (p.log() - q.log())).sum(1)
    return torch.where(kl_T > clip, kl_T * (clip / kl_T.detach()), kl_T).sum()
