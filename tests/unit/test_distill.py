"""The ratio mask against its formulas, and its edges."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.distill import log_ratio, ratio_mask

logp = st.floats(-1e4, 0.0, allow_nan=False, width=32)


def test_hard_mask_by_hand():
    # ratios: 0.005, 0.01 (just inside), 1, 10 (just inside), 20
    templated = torch.tensor([[-1.0] * 5])
    bare = templated + torch.tensor([[math.log(r) for r in (0.005, 0.0101, 1.0, 9.9, 20.0)]])
    assert ratio_mask(bare, templated, torch.tensor([True])).tolist() == [[0, 1, 1, 1, 0]]
    assert ratio_mask(bare, templated, torch.tensor([False])).tolist() == [[1, 1, 1, 1, 1]]


def test_soft_mask_by_hand():
    ratios = [0.0001, 0.005, 1.0, 20.0, 1000.0]
    templated = torch.full((1, 5), -2.0)
    bare = templated + torch.tensor([[math.log(r) for r in ratios]])
    mask = ratio_mask(bare, templated, torch.tensor([True]), soft=True, soft_max=10.0)
    expected = [10.0, 0.01 / 0.005, 1.0, 10 / 20, 10 / 1000]
    assert mask[0].tolist() == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.tuples(logp, logp), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_finite_for_any_finite_log_probs(pairs, soft, templated):
    bare = torch.tensor([[p[0] for p in pairs]])
    under = torch.tensor([[p[1] for p in pairs]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        mask = ratio_mask(bare.to(dtype), under.to(dtype), torch.tensor([templated]), soft=soft)
        assert mask.dtype == torch.float32
        assert torch.isfinite(mask).all()
        assert (mask >= 0).all()
        if not templated:
            assert (mask == 1).all()
        elif not soft:
            assert set(mask.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_overflow_in_half_precision_is_no_nan(dtype):
    # far below what half precision holds: -inf in float16
    extremes = torch.tensor([[-1e38, -7e4, -1.0, -1e38, 0.0]]).to(dtype)
    others = torch.tensor([[-1e38, -7e4, -1e38, -1.0, -1e38]]).to(dtype)
    for soft in (False, True):
        mask = ratio_mask(extremes, others, torch.tensor([True]), soft=soft)
        assert torch.isfinite(mask).all()
    assert ratio_mask(extremes, others, torch.tensor([True]))[0].tolist() == [1, 1, 0, 0, 0]
    assert math.isnan(log_ratio(torch.tensor([math.nan]), torch.tensor([-1.0])).item())  # the step is skipped


@given(st.floats(-8, 8))
def test_agrees_with_the_formula(log_r):
    r = math.exp(log_r)
    bare, templated = torch.tensor([[log_r - 9.0]]), torch.tensor([[-9.0]])
    on = torch.tensor([True])
    near_a_bound = min(abs(log_r - math.log(0.01)), abs(log_r - math.log(10))) < 1e-4
    if not near_a_bound:
        assert ratio_mask(bare, templated, on).item() == float(0.01 <= r <= 10)
    soft = min(min(max(r, 0.01), 10.0) / r, 10.0)
    assert ratio_mask(bare, templated, on, soft=True).item() == pytest.approx(soft, rel=1e-3)
