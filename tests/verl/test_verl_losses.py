"""verl's policy losses take P²O's token weights: each token's gradient is its own without weights, times its weight."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from tiny_run import overrides
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, get_policy_loss_fn
from verl.utils.config import omega_conf_to_dataclass

from p2o.verl.compatibility import LOSSES_WITHOUT_TOKEN_WEIGHTS

AGGREGATIONS = ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"]
TAKEN = sorted(POLICY_LOSS_REGISTRY.keys() - set(LOSSES_WITHOUT_TOKEN_WEIGHTS))
ROWS, TOKENS = 4, 12


@cache
def actor(aggregation: str) -> Any:
    """verl's settings of an actor."""
    own = "actor_rollout_ref.actor"
    words = [f"{own}.loss_agg_mode={aggregation}", f"{own}.loss_scale_factor=56", f"++{own}.policy_loss.dro_beta=0.5"]
    with initialize_config_dir(str(files("verl") / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", [*overrides(Path(".")), *words])
    return omega_conf_to_dataclass(config.actor_rollout_ref.actor)


def gradient(loss: str, aggregation: str, weights_BT: torch.Tensor) -> torch.Tensor:
    """(B, T) of a batch whose policy is a little away from the one that drew it, so that ratios are not 1."""
    generator = torch.Generator().manual_seed(0)
    old_BT = -3 * torch.rand(ROWS, TOKENS, generator=generator)
    logps_BT = (old_BT + 0.1 * torch.randn(ROWS, TOKENS, generator=generator)).requires_grad_()
    advantages_BT = torch.randn(ROWS, 1, generator=generator).expand(ROWS, TOKENS)
    mask_BT = (torch.arange(TOKENS) < torch.tensor([12, 9, 7, 4])[:, None]).float()
    torch.manual_seed(0)  # some losses draw tokens
    value, _ = get_policy_loss_fn(loss)(
        old_log_prob=old_BT,
        log_prob=logps_BT,
        advantages=advantages_BT,
        response_mask=mask_BT,
        loss_agg_mode=aggregation,
        config=actor(aggregation),
        rollout_is_weights=weights_BT,
    )
    (found,) = torch.autograd.grad(value, logps_BT)
    return found


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("loss", TAKEN)
def test_a_tokens_gradient_is_multiplied_by_its_weight(loss: str, aggregation: str) -> None:
    weights_BT = torch.rand(ROWS, TOKENS, generator=torch.Generator().manual_seed(1)).round(decimals=1) * 2
    weights_BT[0, 3] = weights_BT[2, 1] = 0.0
    plain_BT = gradient(loss, aggregation, torch.ones(ROWS, TOKENS))
    weighed_BT = gradient(loss, aggregation, weights_BT)
    assert plain_BT.norm() > 0
    torch.testing.assert_close(weighed_BT, plain_BT * weights_BT)


def test_a_loss_that_is_refused_takes_no_weight_for_each_token() -> None:
    weights_BT = torch.ones(ROWS, TOKENS)
    weights_BT[0, 3] = 0.0
    plain_BT, weighed_BT = (gradient("geo_mean", "token-mean", w) for w in (torch.ones(ROWS, TOKENS), weights_BT))
    assert not torch.allclose(weighed_BT, plain_BT * weights_BT)
