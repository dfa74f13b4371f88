"""Figures of a step and of an epoch, by hand."""

from p2o.core.metrics import Group, epoch_metrics, evaluation_metrics, group_metrics
from p2o.core.samples import Rollout
from p2o.core.summary import EpochSummary

BARE, UNDER = False, True
GROUPS = [
    Group("dead", [BARE] * 4, [False] * 4, spread=False),
    Group("solved", [BARE] * 4, [True] * 4, spread=False),
    Group("near", [BARE] * 4, [True, False, False, False], spread=True),
    Group("rescued", [UNDER, UNDER, UNDER, BARE], [True, True, False, False], spread=True),
    Group("graduated", [UNDER, UNDER, UNDER, BARE], [False, True, False, True], spread=True),
]


def test_group_metrics_by_hand():
    metrics = group_metrics(GROUPS, needed={"rescued", "graduated"}, tau=2)
    assert metrics == {
        "p2o/all_failed": 1 / 5,
        "p2o/all_solved": 1 / 5,
        "p2o/no_spread": 2 / 5,
        "p2o/hard_groups": 2 / 5,  # dead and near
        "p2o/rescued_groups": 2 / 5,
        "p2o/graduated_groups": 1 / 5,
        "p2o/templated": 6 / 20,
        "p2o/bare_success": 6 / 14,
        "p2o/templated_success": 3 / 6,
        "p2o/paired_bare_success": 1 / 2,
        "p2o/paired_templated_success": 3 / 6,
    }


def test_rates_without_rollouts_are_left_out():
    metrics = group_metrics(GROUPS[:3], needed=set(), tau=1)
    assert "p2o/templated_success" not in metrics
    assert "p2o/paired_bare_success" not in metrics
    assert metrics["p2o/hard_groups"] == 1 / 3


def test_rewards_of_bare_and_of_templated_rollouts():
    group = Group("a", [UNDER, UNDER, BARE], [True, False, False], spread=True, rewards=[1.0, 0.5, 0.25])
    metrics = group_metrics([group], needed=set(), tau=1)
    assert (metrics["p2o/bare_reward"], metrics["p2o/templated_reward"]) == (0.25, 0.75)
    assert "p2o/bare_reward" not in group_metrics(GROUPS, needed=set(), tau=1)


def test_epoch_metrics():
    summary = EpochSummary(
        0, groups=10, all_failed=4, all_solved=1, no_spread=6, hard=5, evolved=True, candidates=12, iterations=4
    )
    metrics = epoch_metrics(summary)
    assert metrics["p2o/no_spread_samples"] == 6
    assert metrics["p2o/candidates_per_iteration"] == 3
    assert "p2o/best_dev_score" not in metrics
    assert "p2o/pool" not in epoch_metrics(EpochSummary(0))


def test_evaluation_metrics_also_by_group():
    rollouts = [
        Rollout("4", 1.0, True, completion_tokens=2),
        Rollout("5", 0.5, False, completion_tokens=4),
        Rollout("6", 0.0, False, completion_tokens=6),
    ]
    assert evaluation_metrics(rollouts, ["hard", "easy", "hard"], "eval") == {
        "eval_bare_success": 1 / 3,
        "eval_reward": 0.5,
        "eval_completion_length": 4,
        "eval_bare_success_easy": 0.0,
        "eval_bare_success_hard": 0.5,
    }
    assert set(evaluation_metrics(rollouts, None, "t")) == {"t_bare_success", "t_reward", "t_completion_length"}
