"""Held-out success before and after: paired by sample, losses beside gains."""

import numpy as np
import pytest

from p2o.analysis.changes import changes_of
from p2o.analysis.statistics import difference_interval, matched_interval, paired_difference, success_interval

EASY, HARD = [f"e{n}" for n in range(40)], [f"h{n}" for n in range(160)]


def result(**changes):
    """Of 40 easy samples 39 were solved and 6 of these are lost; of 160 hard ones 158 are gained."""
    before = {i: n != 0 for n, i in enumerate(EASY)} | dict.fromkeys(HARD, False)
    after = {i: n > 6 for n, i in enumerate(EASY)} | {i: n > 1 for n, i in enumerate(HARD)}
    content = {
        "before": {"test_bare_success": 39 / 200, "test_bare_success_easy": 39 / 40, "test_bare_success_hard": 0.0},
        "after": {
            "test_bare_success": 191 / 200,
            "test_bare_success_easy": 33 / 40,
            "test_bare_success_hard": 158 / 160,
        },
        "outcomes_before": {"test": before},
        "outcomes": {"test": after},
        "groups": {"test": dict.fromkeys(EASY, "easy") | dict.fromkeys(HARD, "hard")},
    }
    return content | changes


def test_gains_and_losses_are_counted_sample_by_sample():
    whole, easy, hard = changes_of(result())
    assert (whole.label, whole.direction, whole.gained, whole.lost, whole.samples) == ("test", "rose", 158, 6, 200)
    assert (easy.label, easy.direction, easy.gained, easy.lost, easy.samples) == ("test, easy", "fell", 0, 6, 40)
    assert easy.sure
    assert easy.sentence.startswith("fell from 97.5 % to 82.5 % (-15.0 points [-2")
    assert (hard.gained, hard.lost) == (158, 0)


def test_a_change_that_may_be_chance_says_so():
    ids = [f"s{n}" for n in range(40)]
    one_lost = {"test": {i: n > 0 for n, i in enumerate(ids)}}
    (change,) = changes_of(
        {
            "before": {"test_bare_success": 1.0},
            "after": {"test_bare_success": 39 / 40},
            "outcomes_before": {"test": dict.fromkeys(ids, True)},
            "outcomes": one_lost,
        }
    )
    assert change.sure is False
    assert change.sentence.endswith("which may be chance)")


def test_without_the_outcomes_before_nothing_is_said_of_single_samples():
    whole, easy, _ = changes_of(result(outcomes_before={}))
    assert (whole.samples, whole.gained, whole.lost, whole.interval, whole.sure) == (None,) * 5
    assert easy.sentence == "fell from 97.5 % to 82.5 % (-15.0 points)"
    assert changes_of(result(groups={}))[1].interval is None


def test_a_run_without_held_out_data_has_no_changes():
    assert changes_of({"before": {}, "after": {}}) == []
    assert changes_of({"before": None, "after": {"test_bare_success": 0.5}}) == []


@pytest.mark.parametrize(("gain", "loss"), [(0.0, 0.0), (0.02, 0.0), (0.1, 0.05), (0.5, 0.1), (0.95, 0.0)])
def test_the_matched_interval_covers_the_change_as_often_as_it_says(gain, loss):
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        gained, lost, _ = rng.multinomial(60, [gain, loss, 1 - gain - loss])
        low, high = matched_interval(gained, lost, 60)
        hits += low <= gain - loss <= high
    assert hits >= 0.92 * 400


def test_no_interval_claims_certainty_where_all_samples_agree():
    assert success_interval([0.0] * 100) == pytest.approx((0.0, 0.037), abs=1e-3)
    low, high = difference_interval([0.0] * 98)
    assert low == pytest.approx(-0.0196, abs=1e-3)
    assert high == -low
    assert difference_interval([1.0] * 10)[1] == 1.0
    never = {0: dict.fromkeys(EASY, 0.0), 1: dict.fromkeys(EASY, 0.0)}
    assert paired_difference(never, never).interval[0] < 0 < paired_difference(never, never).interval[1]
