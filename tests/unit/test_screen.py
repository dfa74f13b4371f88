"""The screen's arithmetic by hand, and every verdict."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from helpers import hard_rows
from p2o.analysis.evaluation import TemplateEffect
from p2o.analysis.screen.measure import (
    Screen,
    Share,
    evolve_on,
    failure_rate,
    no_spread_share,
    outcome_shares,
)
from p2o.analysis.screen.reach import Reach, Reaches, reaches
from p2o.analysis.screen.verdict import judge_screen, larger_budget
from p2o.core.evolve.result import Candidate, Evolution, EvolveCost
from p2o.core.samples import Rollout
from p2o.core.settings import LoopSettings
from p2o.data import sample_of
from p2o.runs.estimate import RunCounts, Tokens, project


def group(*rewards):
    return [Rollout("c", reward, reward >= 1.0) for reward in rewards]


def test_all_failed_all_solved_and_no_spread_are_three_figures():
    # Partial credit: two groups all failed, and only one of them has nothing to teach.
    groups = [group(0.2, 0.4), group(0.2, 0.2), group(1.0, 1.0), group(1.0, 1.5), group(0.0, 1.0)]
    outcomes = outcome_shares(groups)
    assert {k: s.count for k, s in outcomes.items()} == {"all_failed": 2, "mixed": 1, "all_solved": 2}
    assert no_spread_share(groups).count == 2
    low, high = outcomes["all_failed"].interval
    assert low < 2 / 5 < high


def test_reach_by_hand():
    def logs(*ratios):
        return [math.log(r) for r in ratios]

    # The second rollout needs a token that is 10⁻⁶ as likely on the bare prompt; the third has one that is likelier.
    bare, zeros = [logs(0.5, 1.0), logs(0.1, 1e-6), logs(20.0, 0.5)], [[0.0] * 2] * 3
    found = reaches(bare, zeros, LoopSettings(soft_max=10.0))
    assert (found.rollouts, found.tokens) == (3, 6)
    assert found.ways["mask"].untrained == 2 / 6
    assert found.ways["mask"].reach == pytest.approx((1 + 1e-6 + 1) / 3)
    assert found.ways["solved"].untrained == 1 / 6
    assert found.ways["solved"].reach == found.ways["soft"].reach == found.ways["no_mask"].reach == pytest.approx(1)
    # γp / (p + γ)² is below 0.01 where p is below 0.001
    assert found.ways["shape"].reach == pytest.approx((1 + 1e-6 + 1) / 3)
    assert reaches(bare, zeros, LoopSettings(distillation="none")).ways["none"].reach == 0
    assert reaches(bare, zeros, LoopSettings(distillation="kl")).ways["kl"].reach == 1


def test_the_recipes_own_way_is_recommended_where_it_is_as_good():
    ways = {"solved": Reach(0.0, 1.0), "mask": Reach(0.02, 0.95), "no_mask": Reach(0.0, 1.0)}
    assert Reaches(1, 1, ways).recommended("mask") == "mask"
    assert Reaches(1, 1, ways).recommended("no_mask") == "no_mask"
    ways["mask"] = Reach(0.1, 0.0)
    assert Reaches(1, 1, ways).recommended("mask") == "solved"


def test_reflector_failures_are_replies_without_a_usable_template():
    fates = ["accepted", "rejected", "duplicate", "leak", "no_reply"]
    candidates = [Candidate(0, "", None, 0, "seed"), *(Candidate(i, "t", 0, 1, f) for i, f in enumerate(fates, 1))]
    evolution = Evolution(candidates, [], [], [], [], [], [], 1, EvolveCost(), [0.0], "budget")
    assert failure_rate(evolution) == 2 / 5
    assert failure_rate(replace(evolution, candidates=candidates[:1])) is None


class Training:
    hard_min_count, dev_size, evolve_budget, evolve_max_iterations, skip_dead_rows = 10, 20, "100", None, True
    template_worth = "success"


def test_projection_by_hand():
    tokens = Tokens(10, 10, 20, 30)
    run = RunCounts(1, 100, 4, 400, 400, 1, 3.0, 3, 1200)
    p = project(Training, run, hard=0.5, live=0.25, tokens=tokens)
    group = 4 * (20 + 3 * 0.25 * 20)
    assert p.grpo_cost == 3 * 100 * group
    templated = 4 * (50 + 40 + 50 + 3 * 40)
    assert p.p2o_cost == p.grpo_cost + 2 * 50 * (templated - 4 * 20) + 2 * 100 * 50
    assert (p.grpo_rollouts, p.p2o_rollouts) == (1200, 1400)
    scored = {"solution": 50, "transfer": 50 + 40}
    for worth, more in scored.items():
        weighed = project(
            type("Weighed", (Training,), {"template_worth": worth}), run, hard=0.5, live=0.25, tokens=tokens
        )
        assert weighed.p2o_cost == p.p2o_cost + 2 * 100 * more
    few = project(Training, run, hard=0.05, live=0.25, tokens=tokens)
    assert few.p2o_cost == few.grpo_cost


GOOD = Screen(
    samples=100,
    total=1000,
    draws=6,
    outcomes={},
    hard=Share(40, 0.4, (0.31, 0.5)),
    no_spread=Share(35, 0.35, (0.26, 0.45)),
    hard_min_count=100,
    pool=[{"text": "t", "weight": 0.5, "solves": []}],
    evolution={
        "candidates": 9,
        "rollouts": 1000,
        "best_dev_scores": [0.0, 0.5],
        "budget": 1000,
        "of_run": 900,
        "stopped": "budget",
    },
    reflector_failures=0.1,
    gap=TemplateEffect(13, 0.01, 0.41, 0.4, (0.3, 0.5)),
    reaches=Reaches(60, 1000, {"solved": Reach(0.0, 1.0), "mask": Reach(0.02, 0.95)}),
)


LONGER = {**GOOD.evolution, "of_run": 11_256}
"""Of a run whose own evolutions look longer than the screen's did."""
MASKED = Reaches(60, 1000, {"solved": Reach(0.0, 1.0), "mask": Reach(0.1, 0.0)})


@pytest.mark.parametrize(
    ("change", "worth", "reason"),
    [
        ({}, "worth it", "+40.0 points"),
        ({"hard": Share(2, 0.02, (0.005, 0.07))}, "not worth it", "too few hard samples"),
        (
            {"gap": None, "pool": []},
            "not worth it",
            "no template found with 1,000 rollouts, and an evolution of the run makes 900 at most",
        ),
        ({"gap": None, "pool": [], "evolution": LONGER}, "not clear", "up to 11,256; screen again with --budget 4000"),
        (
            {"gap": None, "pool": [], "evolution": {**LONGER, "stopped": "idle"}},
            "not worth it",
            "the reflector writes nothing new",
        ),
        ({"gap": None}, "not clear", "leaves room"),
        ({"gap": TemplateEffect(13, 0.0, 0.01, 0.01, (0.0, 0.03))}, "not worth it", "prompts do not help"),
        (
            {"reaches": MASKED},
            "worth it",
            "solved, with which at most 100.0 % of the templated success can be trained into the bare prompt, if",
        ),
        (
            {"reaches": MASKED, "distillation": "solved"},
            "worth it",
            "with distillation: solved, at most 100.0 % of the templated success can be trained",
        ),
        (
            {"reaches": Reaches(60, 1000, {"mask": Reach(0.1, 0.2)})},
            "not clear",
            "only 20.0 % of the templated success can be trained",
        ),
        ({"gap": TemplateEffect(13, 0.0, 0.1, 0.1, (-0.02, 0.22))}, "not clear", "not sure"),
        ({"reflector_failures": 0.9}, "not clear", "reflector failed"),
        ({"reflector_failures": None}, "not clear", "never asked"),
        ({"reaches": None}, "not clear", "served policy"),
    ],
)
def test_verdicts(change, worth, reason):
    judged = judge_screen(replace(GOOD, **change))
    assert judged.worth == worth
    assert reason in judged.reason
    assert judged.numbers


def test_a_larger_screen_is_no_larger_than_an_evolution_of_the_run():
    assert larger_budget(LONGER) == 4000
    assert larger_budget({**LONGER, "budget": 4000}) == 11_256
    assert larger_budget({**LONGER, "budget": 11_256}) is None


def test_what_was_not_measured_is_said():
    few = replace(
        GOOD, hard=Share(3, 0.03, (0.01, 0.08)), evolution={}, reflector_failures=None, gap=None, reaches=None
    )
    assert "evolution: not tried, it needs 8 hard samples in the screen" in judge_screen(few).numbers
    assert "reflector: usable replies 90.0 %" in judge_screen(GOOD).numbers
    lines = judge_screen(replace(GOOD, gap=None, reaches=None, reflector_failures=None)).numbers
    assert "reflector: never asked" in lines
    assert "held-out hard samples: not measured under templates" in lines
    assert "distillation: not measured, no log-probs of a solved templated rollout" in lines


def test_the_screen_looks_for_templates_whatever_the_recipes_own_evolutions_do():
    class LookedError(Exception):
        pass

    class Fixed:
        recipe = SimpleNamespace(
            training=SimpleNamespace(
                **vars(LoopSettings(method="grpo", evolve_max_iterations=1)),
                num_generations=4,
                seed=0,
            )
        )

        def prompt_step(self, loop, *_):
            raise LookedError(loop.settings)

    hard = [sample_of(row) for row in hard_rows(8)]
    with pytest.raises(LookedError) as found:
        evolve_on(Fixed(), hard, {s.id: group(0.0, 0.0, 0.0, 1.0) for s in hard}, 700)
    used = found.value.args[0]
    assert (used.method, used.evolve_search) == ("p2o", "race")
    assert (used.evolve_budget, used.evolve_max_iterations, used.dev_size) == ("700", None, 4)
