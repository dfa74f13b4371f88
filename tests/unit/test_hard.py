"""Mining: successes per group, hard ids, both withdrawal rules, the split."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.hard import HardLedger, Tally, split_hard
from p2o.core.summary import summarize
from p2o.core.withdrawal import needs_of


def test_hard_is_at_most_tau_minus_one_successes():
    ledger = HardLedger()
    ledger.record("none", [0, 0, 0])
    ledger.record("one", [1, 0, 0])
    ledger.record("two", [1, 1, 0])
    assert ledger.hard_ids(1) == ["none", "one"]  # τ = 2, the paper
    assert ledger.hard_ids(0) == ["none"]  # τ = 1


def test_solved_means_the_threshold_not_above_zero():
    ledger = HardLedger(success_threshold=0.8)
    ledger.record("partial", [0.5, 0.79, 0.1])
    ledger.record("solved", [0.8, 0.0, 0.0])
    assert ledger.hard_ids(0) == ["partial"]


def test_unscorable_rollouts_are_not_solved():
    ledger = HardLedger()
    ledger.record("a", [float("nan"), float("nan")])
    assert ledger.hard_ids(0) == ["a"]


def test_a_sample_seen_twice_in_an_epoch_adds_up():
    ledger = HardLedger()
    ledger.record("a", [0, 0])
    ledger.record("a", [1, 1])
    assert ledger.tallies["a"] == Tally(bare=4, bare_solved=2)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="argument"):
        HardLedger().record("a", [1, 0], [True])


@pytest.mark.parametrize(
    ("rewards", "templated", "solved", "graduated"),
    [
        ([0, 0, 0], [0, 0, 0], "hard", "hard"),
        ([1, 1, 0], [0, 0, 0], "bare", "bare"),
        ([1, 1, 0], [1, 1, 0], "bare", "kept"),  # solved under templates only
        ([1, 0, 0], [1, 1, 0], "hard", "hard"),  # templates do not work
        ([1, 1, 1], [1, 1, 0], "bare", "bare"),  # solved bare too
        ([0, 0, 1], [1, 1, 0], "hard", "bare"),
    ],
)
def test_withdrawal_rules(rewards, templated, solved, graduated):
    ledger = HardLedger()
    ledger.record("a", rewards, [bool(t) for t in templated])
    assert needs_of(ledger.tallies, "solved", 1) == {"a": solved}
    assert needs_of(ledger.tallies, "graduated", 1) == {"a": graduated}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=8),
        max_size=10,
    )
)
def test_state_survives_json_and_counts_add_up(groups):
    ledger = HardLedger()
    for sample_id, rollouts in groups.items():
        ledger.record(sample_id, [r for r, _ in rollouts], [t for _, t in rollouts])
        tally = ledger.tallies[sample_id]
        assert tally.rollouts == len(rollouts)
        assert tally.successes == sum(r >= 1 for r, _ in rollouts)
    copy = HardLedger(0.3)
    copy.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert copy.tallies == ledger.tallies
    assert copy.success_threshold == ledger.success_threshold
    for tau in (1, 2, 4):
        expected = sorted(i for i, g in groups.items() if sum(r >= 1 for r, _ in g) <= tau - 1)
        assert copy.hard_ids(tau - 1) == expected


def test_all_failed_all_solved_and_no_spread_are_three_figures():
    ledger = HardLedger()
    ledger.record("failed", [0.0, 0.0])
    ledger.record("partial", [0.2, 0.5])  # nothing solved, but GRPO trains on it
    ledger.record("solved", [1.0, 1.0])
    ledger.record("solved, with a length bonus", [1.0, 1.0], totals=[1.1, 1.2])
    ledger.record("mixed", [1.0, 0.0])
    summary = summarize(ledger.tallies, 0)
    assert (summary.groups, summary.all_failed, summary.all_solved, summary.no_spread) == (5, 2, 2, 2)
    assert not Tally().spread


@pytest.mark.parametrize(
    ("hard", "dev_size", "train", "dev"),
    [(1000, 300, 700, 300), (450, 300, 225, 225), (449, 300, 225, 224), (100, 300, 50, 50), (3, 300, 2, 1)],
)
def test_split_sizes(hard, dev_size, train, dev):
    ids = [str(n) for n in range(hard)]
    train_ids, dev_ids = split_hard(ids, dev_size)
    assert (len(train_ids), len(dev_ids)) == (train, dev)
    assert sorted(train_ids + dev_ids) == sorted(ids)
