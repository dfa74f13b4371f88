"""Evaluation by hand: pass@k, intervals, differences, a run's history."""

import itertools
from dataclasses import replace

import pytest

from p2o.analysis.evaluation import evaluate_policy, template_effect, template_history
from p2o.analysis.statistics import bootstrap_interval, pass_at_k, wilson_interval
from p2o.core.hard import Tally
from p2o.core.samples import Rollout, Sample
from p2o.errors import ConfigError
from p2o.runs.run_directory import Epoch


@pytest.mark.parametrize(("draws", "solved", "k"), [(4, 1, 2), (5, 3, 2), (6, 0, 3), (6, 6, 1), (5, 4, 3)])
def test_pass_at_k_is_the_mean_over_all_subsets(draws, solved, k):
    rollouts = [True] * solved + [False] * (draws - solved)
    subsets = list(itertools.combinations(rollouts, k))
    assert pass_at_k(draws, solved, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_bootstrap_covers_the_mean_and_is_repeatable():
    values = [0.0] * 30 + [1.0] * 10
    low, high = bootstrap_interval(values)
    assert 0.1 < low < 0.25 < high < 0.42
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([0.5] * 9) == (0.5, 0.5)


def test_wilson_interval():
    assert wilson_interval(0, 100) == pytest.approx((0.0, 0.037), abs=1e-3)
    assert wilson_interval(50, 100) == pytest.approx((0.404, 0.596), abs=1e-3)
    assert wilson_interval(0, 0) == (0.0, 1.0)


SAMPLES = [Sample(f"s{n}", [{"role": "user", "content": str(n)}], columns={"level": "ab"[n % 2]}) for n in range(4)]


def roll_out(pairs):
    """A template "z" solves all; bare, s0 is solved by every other draw."""
    seen: dict[str, int] = {}
    out = []
    for template, sample in pairs:
        n = seen[sample.id] = seen.get(sample.id, -1) + 1
        out.append(Rollout("c", 1.0, template == "z" or (sample.id == "s0" and n % 2 == 0), "", 10, 2))
    return out


def test_evaluation_bare():
    result = evaluate_policy(roll_out, SAMPLES, 4, 1.0, group_column="level", greedy=lambda pairs: roll_out(pairs))
    assert result.mean == 0.5 / 4
    assert result.per_sample == {"s0": 0.5, "s1": 0.0, "s2": 0.0, "s3": 0.0}
    assert result.pass_at == {1: pytest.approx(0.125), 2: pytest.approx((1 - 1 / 6) / 4), 4: 0.25}
    assert result.by_group == {"a": 0.25, "b": 0.0}
    assert result.greedy == 0.25
    assert result.prompt_tokens == 10 * 4 * 5


def test_evaluation_under_templates():
    result = evaluate_policy(roll_out, SAMPLES, 2, 1.0, {"s1": ["z"], "s2": ["z", ""]})
    assert result.per_sample == {"s0": 0.5, "s1": 1.0, "s2": 0.5, "s3": 0.0}
    assert result.greedy is None
    assert evaluate_policy(roll_out, SAMPLES, 3).pass_at.keys() == {1, 2, 3}


def test_a_prompt_without_room_is_left_out_and_not_a_failure():
    def roll_out_some(pairs):
        return [replace(r, fits=s.id != "s3") for r, (_, s) in zip(roll_out(pairs), pairs, strict=True)]

    result = evaluate_policy(roll_out_some, SAMPLES, 4, 1.0, group_column="level", greedy=roll_out_some)
    assert (result.samples, result.no_room) == (3, 1)
    assert result.mean == pytest.approx(0.5 / 3)
    assert result.by_group == {"a": 0.25, "b": 0.0}
    assert result.greedy == pytest.approx(1 / 3)
    assert "s3" not in result.per_sample
    with pytest.raises(ConfigError, match="no prompt leaves room"):
        evaluate_policy(lambda pairs: [replace(r, fits=False) for r in roll_out(pairs)], SAMPLES)


def test_difference_is_paired():
    change = template_effect({"a": 0.0, "b": 0.5, "c": 1.0}, {"a": 1.0, "b": 1.0, "d": 0.0})
    assert change is not None
    assert (change.samples, change.bare, change.templated, change.difference) == (2, 0.25, 1.0, 0.75)
    assert change.interval == (0.5, 1.0)
    assert template_effect({"a": 0.0}, {"a": 1.0}, ids={"b"}) is None


def test_history_of_a_run():
    def epoch(number, bare_solved, templates, bare=None, templated=None):
        summary = {"epoch": number, "paired_bare_success": bare, "paired_templated_success": templated}
        return Epoch(number, summary, {"a": Tally(1, bare_solved)}, [], {"a": templates})

    past = template_history([epoch(0, 1, ["t"]), epoch(1, 0, ["u"], 0.25, 0.75), epoch(2, 1, ["v"], 0.5, 0.5)])
    assert past.templates == {"a": ["v"]}
    assert past.graduated == {"a"}
    assert [p["difference"] for p in past.over_time] == [0.5, 0.0]
    assert template_history([epoch(0, 1, ["t"])]).graduated == set()
