"""Ways of distillation: each weight against its formula, and which one a setting chooses."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.credit import Credit, Distillation, credit_of
from p2o.core.distill import ratio_mask, shaped_weight, solved_mask
from p2o.core.divergence import forward_kl
from p2o.core.settings import LoopSettings

logp = st.floats(-60.0, 0.0, allow_nan=False, width=32)
YES, NO = torch.tensor([True]), torch.tensor([False])


def rows(pairs):
    return torch.tensor([[p[0] for p in pairs]]), torch.tensor([[p[1] for p in pairs]])


def test_solved_mask_by_hand():
    templated = torch.full((1, 5), -2.0)
    bare = templated + torch.tensor([[math.log(r) for r in (1e-13, 0.005, 1.0, 9.9, 20.0)]])
    assert solved_mask(bare, templated, YES, YES).tolist() == [[1, 1, 1, 1, 0]]  # only the upper bound is left
    assert solved_mask(bare, templated, YES, NO).tolist() == [[0, 0, 1, 1, 0]]  # the paper's mask
    assert solved_mask(bare, templated, NO, NO).tolist() == [[1, 1, 1, 1, 1]]


@given(st.lists(st.tuples(logp, logp), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_solved_mask_is_the_papers_and_more(pairs, templated, solved):
    bare, under = rows(pairs)
    is_templated, is_solved = torch.tensor([templated]), torch.tensor([solved])
    ours, papers = solved_mask(bare, under, is_templated, is_solved), ratio_mask(bare, under, is_templated)
    assert (ours >= papers).all()
    added = (ours > papers)[0]
    assert not added.any() or solved
    for (b, t), new in zip(pairs, added.tolist(), strict=True):
        assert new == (templated and solved and float(papers[0, pairs.index((b, t))]) == 0 and b < t)


@given(st.lists(st.tuples(logp, logp), min_size=1, max_size=6), st.floats(0.01, 1.0))
def test_the_shaped_weight_is_the_gradient_of_luffys_loss(pairs, gamma):
    bare, _ = rows(pairs)
    logps = bare.double().clone().requires_grad_()
    p = logps.exp()
    (p / (p + gamma)).sum().backward()
    assert torch.allclose(shaped_weight(bare, YES, gamma).double(), logps.grad, rtol=1e-3, atol=1e-9)
    assert (shaped_weight(bare, YES, gamma) <= 0.25 + 1e-6).all()
    assert (shaped_weight(bare, NO, gamma) == 1).all()


def whole_kl(teacher, student):
    return (teacher.exp() * (teacher - student)).sum(-1)


@given(st.integers(0, 10_000), st.integers(2, 12))
def test_forward_kl_with_the_whole_vocabulary_is_the_kl(seed, size):
    torch.manual_seed(seed)
    teacher, student = (torch.randn(3, size).mul(2).log_softmax(-1) for _ in range(2))
    ids = torch.arange(size).expand(3, size)
    assert torch.allclose(forward_kl(student, ids, teacher, clip=1e9), whole_kl(teacher, student), atol=1e-3)


@given(st.integers(0, 10_000))
def test_forward_kl_of_the_likeliest_tokens_is_never_above_the_whole(seed):
    torch.manual_seed(seed)
    teacher, student = (torch.randn(4, 20).mul(2).log_softmax(-1) for _ in range(2))
    top = teacher.topk(5, dim=-1)
    kl = forward_kl(student, top.indices, top.values, clip=1e9)
    assert (kl >= -1e-5).all()
    assert (kl <= whole_kl(teacher, student) + 1e-4).all()  # merging outcomes loses information
    assert torch.allclose(forward_kl(teacher, top.indices, top.values, clip=1e9), torch.zeros(4), atol=1e-5)


def test_a_clipped_token_keeps_the_direction_of_its_gradient():
    teacher = torch.tensor([[0.9, 0.05, 0.05]]).log()
    ids = torch.arange(3)[None]
    grads = []
    for clip in (1e9, 1.0):
        logits = torch.tensor([[-40.0, 0.0, 0.0]], requires_grad=True)
        kl = forward_kl(logits.log_softmax(-1), ids, teacher, clip)
        kl.sum().backward()
        grads.append(logits.grad)
        assert kl.item() == pytest.approx(min(clip, kl.item()))
    assert torch.allclose(grads[1] / grads[1].norm(), grads[0] / grads[0].norm(), atol=1e-5)
    assert grads[1].norm() < grads[0].norm() / 30


@pytest.mark.parametrize("mode", get_args(Distillation))
def test_every_way_gives_a_credit_that_is_finite_and_leaves_bare_rows_alone(mode):
    credit = credit_of(LoopSettings(distillation=mode))
    assert isinstance(credit, Credit)
    if credit.weights is None:
        assert mode in ("no_mask", "importance", "none")
        return
    bare = torch.tensor([[-30.0, -0.1, -3.0]] * 3)
    under = torch.tensor([[-0.1, -0.1, -0.1]] * 3)
    weights = credit.weights(bare, under, torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert (weights[2] == 1).all()


def test_wide_first_becomes_the_papers_mask():
    settings = LoopSettings(distillation="wide_first", wide_epochs=2)
    bare, under = torch.tensor([[-30.0, -1.0]]), torch.tensor([[-0.1, -1.0]])
    kept = [credit_of(settings, epoch).weights(bare, under, YES, YES)[0].tolist() for epoch in (1, 2, 3)]
    assert kept == [[1, 1], [1, 1], [0, 1]]


def test_dropping_failed_rollouts_goes_with_every_way():
    for mode in get_args(Distillation):
        assert credit_of(LoopSettings(distillation=mode, drop_failed_template_rollout=True)).drop_failed
