"""What a template is worth on the bare prompt: the weight of a rollout, and the cover that goes by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from p2o.core.settings import LoopSettings
from p2o.core.templates import make_pool
from p2o.core.transfer import carry_over, solved_near_best
from p2o.errors import ConfigError
from p2o.verl.settings import VerlSettings

TOLD = math.log(0.97)


def weight(*bare: float, low: float = 0.01) -> float:
    return carry_over([math.log(p) for p in bare], [TOLD] * len(bare), low)


def test_what_the_mask_lets_through_costs_nothing_however_long() -> None:
    assert weight(0.03, 0.03, 0.03, 0.03) == 1
    assert weight(*[0.02] * 200) == 1
    assert weight(0.99, 1.0) == 1  # likelier on the bare prompt


def test_one_impossible_token_lowers_the_weight_in_a_long_answer_too() -> None:
    short, long = weight(1e-6), weight(1e-6, *[0.97] * 500)
    assert short == long == pytest.approx(math.exp(-2))  # 1e-6 lies two bounds below the bound


def test_each_impossible_token_costs() -> None:
    assert weight(1e-6, 1e-6, 1e-6) == pytest.approx(math.exp(-6))


def test_noise_does_not_change_the_weight() -> None:
    assert len({weight(1e-6 * (1 + noise)) for noise in (-0.2, -0.01, 0.0, 0.01, 0.2)}) == 1


def test_the_bound_is_the_masks() -> None:
    assert weight(5e-4) < 1
    assert weight(5e-4, low=1e-4) == 1


def pool_of(scores_CV: Sequence[Sequence[float]]) -> dict[str, set[str]]:
    solved_CV = [[score > 0 for score in row] for row in scores_CV]
    ids = [f"v{n}" for n in range(len(scores_CV[0]))]
    names = [f"c{n}" for n in range(len(scores_CV))]
    return {t.text: set(t.solves) for t in make_pool(names, scores_CV, solved_near_best(scores_CV, solved_CV), ids)}


def test_the_cover_takes_what_carries_over_where_there_is_such_a_template() -> None:
    table, line = [0.002, 0.002, 0.002, 0.002], [0.0, 1.0, 1.0, 0.0]
    assert pool_of([table, line]) == {"c0": {"v0", "v3"}, "c1": {"v1", "v2"}}


def test_templates_that_are_all_far_off_are_kept_all_the_same() -> None:
    assert pool_of([[0.002, 0.0], [0.0, 0.002]]) == {"c0": {"v0"}, "c1": {"v1"}}


def test_without_unlikely_tokens_the_cover_is_the_papers() -> None:
    scores_CV = [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    solved_CV = [[score > 0 for score in row] for row in scores_CV]
    assert solved_near_best(scores_CV, solved_CV) == solved_CV


def test_nothing_solved_is_not_covered() -> None:
    assert pool_of([[0.0, 0.0]]) == {}


def test_unscored_pools_and_verl_refuse_it() -> None:
    with pytest.raises(ConfigError, match="pool is proposals, which keeps all templates"):
        LoopSettings(template_worth="transfer", pool="proposals").check_loop(4)
    settings: dict[str, Any] = {"num_generations": 4, "template_worth": "transfer"}
    with pytest.raises(ConfigError, match="verl gives no log-probs"):
        VerlSettings(**settings)
