"""The vocabulary of states: outcomes and spread of a group, the state of a sample through the epochs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.hard import Tally
from p2o.core.states import GROUP_OUTCOMES, STATES, SampleHistory, has_spread, outcome_of, state_of


@pytest.mark.parametrize(
    ("tally", "needed", "mastered", "expected"),
    [
        (Tally(6, 0), False, False, "all_failed"),
        (Tally(6, 0), True, False, "all_failed"),
        (Tally(6, 0), False, True, "forgotten"),
        (Tally(6, 0), True, True, "forgotten"),
        (Tally(6, 2), False, False, "mixed"),
        (Tally(6, 2), False, True, "mixed"),
        (Tally(6, 6), False, False, "mastered"),
        (Tally(6, 2), True, False, "graduated"),
        (Tally(6, 6), True, False, "graduated"),
        (Tally(1, 0, 5, 0), True, False, "not_rescued"),
        (Tally(1, 0, 5, 0), True, True, "not_rescued"),
        (Tally(1, 0, 5, 3), True, False, "rescued"),
        (Tally(0, 0, 6, 6), True, False, "rescued"),
        (Tally(1, 1, 5, 3), True, False, "graduated"),
    ],
)
def test_state_of_a_sample(tally, needed, mastered, expected):
    assert state_of(tally, needed, mastered) == expected


def test_a_history_remembers_who_needed_help_and_who_was_mastered():
    history = SampleHistory()
    assert history.add_epoch({"a": Tally(4, 4), "b": Tally(4, 0)}) == {"a": "mastered", "b": "all_failed"}
    assert history.add_epoch({"b": Tally(1, 1, 3, 0)}) == {"b": "graduated"}
    # The one bare slot of a templated group does not make a sample mastered.
    assert history.add_epoch({"a": Tally(4, 0), "b": Tally(4, 0)}) == {"a": "forgotten", "b": "all_failed"}
    assert history.add_epoch({"a": Tally(4, 1)}) == {"a": "mixed"}


@pytest.mark.parametrize(
    ("rewards", "spread"),
    [
        ([0.0, 0.0], False),
        ([1.0, 1.0], False),
        ([0.5, 0.5, 0.5], False),
        ([0.2, 0.4], True),  # partial credit: all failed, and GRPO learns
        ([0.1 + 0.2, 0.3], False),
        ([0.0, math.nan, None], False),
        ([math.nan], False),
        ([1.0, math.nan], True),
        ([], False),
    ],
)
def test_spread_is_of_the_rewards(rewards, spread):
    assert has_spread(rewards) == spread


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.booleans(), st.booleans())
def test_every_tally_has_one_state_and_one_outcome(bare_solved, bare_failed, solved, failed, needed, mastered):
    tally = Tally(bare_solved + bare_failed, bare_solved, solved + failed, solved)
    assert state_of(tally, needed or bool(tally.templated), mastered) in STATES
    assert outcome_of(tally.successes, tally.rollouts) in GROUP_OUTCOMES
    assert (outcome_of(tally.successes, tally.rollouts) == "all_failed") == (tally.successes == 0)
