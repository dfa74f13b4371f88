"""Cost: arithmetic, state, and what a resumed evolution owes."""

import copy
import dataclasses

from p2o.core.cost import PHASES, CostMeter, without_false_zeros
from p2o.core.evolve.result import EvolveCost
from p2o.core.metrics import cost_metrics
from p2o.core.samples import Rollout
from p2o.generation.prompt_step import add_reflection, add_replayed


def meter():
    cost = CostMeter()
    cost["rollout"].add(rollouts=2, prompt_tokens=10, generated_tokens=5)
    cost["ratio"].add(scored_tokens=7)
    cost["train"].add(trained_tokens=4)
    cost["evaluate"].add(rollouts=1, prompt_tokens=100)
    cost["reflect"].add(teacher_tokens=1000)
    return cost


def test_a_trained_token_costs_three_and_evaluation_and_teacher_nothing():
    cost = meter()
    assert {name: cost[name].cost for name in PHASES} == {
        "rollout": 15, "ratio": 7, "train": 12, "evolve": 0, "reflect": 0, "evaluate": 100,
    }  # fmt: skip
    assert cost.training_cost == 34
    assert cost.total.rollouts == 3
    assert cost_metrics(cost)["p2o/cost"] == 34
    assert cost_metrics(cost)["p2o/cost/rollouts"] == 2


def test_state_round_trip():
    again = CostMeter()
    again.load_state_dict(meter().state_dict())
    assert again.state_dict() == meter().state_dict()


def test_seconds_are_added_up():
    cost = CostMeter()
    for _ in range(2):
        with cost.timed("train"):
            pass
    assert cost["train"].seconds > 0


EVOLUTION = dataclasses.asdict(
    EvolveCost(
        metric_calls=5,
        prompt_tokens=50,
        completion_tokens=20,
        reflector_prompt_tokens=8,
        reflector_completion_tokens=4,
        unmeasured_replies=1,
    )
)


def spent(made_rollouts, teacher, replies=0):
    """The meter after a prompt step that made this many of the five rollouts itself."""
    cost = meter()
    before = {phase: copy.copy(cost[phase]) for phase in ("evolve", "reflect")}
    cost["evolve"].add_rollouts([Rollout("c", 0.0, False, "", 10, 4)] * made_rollouts)
    for _ in range(replies):
        add_reflection(cost["reflect"], 8, 4, 1, on_policy=not teacher)
    add_replayed(cost, before, EVOLUTION, on_policy=not teacher)
    return cost.state_dict()


def test_tokens_that_nobody_reported_are_not_shown_as_0():
    cost = CostMeter()
    told = cost.state_dict()
    assert without_false_zeros(told) == told
    cost["evolve"].add_rollouts([Rollout("c", 0.0, False)] * 3)
    add_reflection(cost["reflect"], 0, 0, 2, on_policy=False)
    shown = without_false_zeros(cost.state_dict())
    assert {key: shown["evolve"][key] for key in ("prompt_tokens", "generated_tokens", "cost")} == dict.fromkeys(
        ("prompt_tokens", "generated_tokens", "cost")
    )
    assert shown["evolve"]["unmeasured_texts"] == shown["evolve"]["rollouts"] == 3
    assert shown["reflect"]["teacher_tokens"] is None
    assert shown["reflect"]["prompt_tokens"] == 0  # a teacher's are no part of the cost
    assert shown["training_cost"] is None
    cost["rollout"].add_rollouts([Rollout("c", 0.0, False, "", 10, 4)])
    assert without_false_zeros(cost.state_dict())["training_cost"] == 14  # at least
    evolution = dataclasses.asdict(EvolveCost(metric_calls=3, unmeasured_rollouts=3))
    assert without_false_zeros(evolution) == {**evolution, "prompt_tokens": None, "completion_tokens": None}


def test_a_budget_is_spent_by_cost_or_by_rollouts():
    cost = meter()
    assert cost.reaches(34, None)
    assert cost.reaches(None, 2)
    assert not cost.reaches(35, 3)
    assert not cost.reaches(None, None)


def test_a_resumed_evolution_costs_what_an_undisturbed_one_does():
    assert spent(5, teacher=False, replies=1) == spent(2, teacher=False) == spent(0, teacher=False)
    assert spent(5, teacher=True, replies=1) == spent(0, teacher=True)
    assert spent(5, teacher=True)["reflect"]["teacher_tokens"] == 1012
    assert spent(5, teacher=False)["reflect"] == {
        **meter().state_dict()["reflect"], "prompt_tokens": 8, "generated_tokens": 4, "cost": 12,
        "unmeasured_texts": 1,
    }  # fmt: skip
