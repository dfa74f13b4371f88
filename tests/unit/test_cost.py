"""Cost: arithmetic, state, and what a resumed evolution owes."""

import dataclasses

from p2o.core.cost import PHASES, CostMeter, Made
from p2o.core.evolve import Reply
from p2o.core.evolve.result import EvolveCost
from p2o.core.metrics import cost_metrics
from p2o.core.samples import Rollout


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
    )
)


def spent(made_rollouts, teacher, replies=0):
    """The meter after a prompt step that made so many of the five rollouts itself."""
    cost, made = CostMeter(), Made()
    rollouts = made.rolled_out([Rollout("c", 0.0, False, "", 10, 4)] * made_rollouts)
    cost["evolve"].add(rollouts=len(rollouts), prompt_tokens=10 * len(rollouts), generated_tokens=4 * len(rollouts))
    for reply in made.reflected([Reply("t", None, 8, 4)] * replies):
        if not teacher:
            cost["reflect"].add(prompt_tokens=reply.prompt_tokens, generated_tokens=reply.completion_tokens)
    made.add_replayed(cost, EVOLUTION, teacher)
    return cost.state_dict()


def test_a_resumed_evolution_costs_what_an_undisturbed_one_does():
    assert spent(5, teacher=False, replies=1) == spent(2, teacher=False) == spent(0, teacher=False)
    assert spent(5, teacher=True, replies=1) == spent(0, teacher=True)
    assert spent(5, teacher=True)["reflect"]["teacher_tokens"] == 12
    assert spent(5, teacher=False)["reflect"] | {"seconds": 0} == {
        **CostMeter().state_dict()["reflect"], "prompt_tokens": 8, "generated_tokens": 4, "cost": 12,
    }  # fmt: skip
