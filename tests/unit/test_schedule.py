"""The schedule of samples: what learns is drawn first, what rests comes back."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.base.text import counted
from p2o.core.hard import Tally
from p2o.core.loop import JointLoop
from p2o.core.methods import Method, PromptTools
from p2o.core.samples import Sample
from p2o.core.schedule import LONGEST_INTERVAL, MOST_DRAWS, Schedule
from p2o.core.settings import LoopSettings
from p2o.errors import ConfigError

FAILED, MIXED, SOLVED = Tally(4, 0), Tally(4, 2), Tally(4, 4)
RESCUED, GRADUATED = Tally(1, 0, 3, 3), Tally(1, 1, 3, 3)
IDS = [f"s{n}" for n in range(12)]

tallies_of_epochs = st.lists(
    st.fixed_dictionaries({i: st.sampled_from([FAILED, MIXED, SOLVED, RESCUED, GRADUATED]) for i in IDS}),
    min_size=1,
    max_size=12,
)


def drawn_in(schedule: Schedule, epoch: int) -> list[str]:
    return schedule.order(IDS, epoch, random.Random(epoch))


def epochs_that_draw(tally: Tally, epochs: int) -> list[int]:
    """The epochs in which a sample with always this tally is due, beside eleven that learn."""
    schedule, due = Schedule(), []
    for epoch in range(epochs):
        drawn = set(drawn_in(schedule, epoch))
        due += [epoch] if "s0" in drawn else []
        schedule.add_epoch({i: tally if i == "s0" else MIXED for i in drawn}, (), epoch)
    return due


def test_the_first_epoch_is_uniform() -> None:
    assert sorted(drawn_in(Schedule(), 0)) == sorted(IDS)


def test_mastered_and_hopeless_samples_come_back_at_growing_intervals() -> None:
    assert epochs_that_draw(SOLVED, 24) == [0, 2, 6, 14, 22]
    assert epochs_that_draw(FAILED, 24) == [0, 2, 6, 14, 22]


def test_what_learns_is_drawn_in_every_epoch() -> None:
    for tally in (MIXED, RESCUED, GRADUATED):
        assert epochs_that_draw(tally, 8) == list(range(8))


def test_places_of_resting_samples_go_to_those_that_learn() -> None:
    schedule = Schedule()
    schedule.add_epoch({i: MIXED if i in IDS[:9] else SOLVED for i in IDS}, (), 0)
    times = Counter(drawn_in(schedule, 1))
    assert set(times) == set(IDS[:9])
    assert (sum(times.values()), max(times.values())) == (len(IDS), MOST_DRAWS)


def test_with_nothing_to_learn_it_is_uniform() -> None:
    schedule = Schedule()
    schedule.add_epoch(dict.fromkeys(IDS, FAILED), (), 0)
    assert sorted(drawn_in(schedule, 1)) == sorted(IDS)


def test_new_templates_bring_a_hopeless_sample_back_at_once() -> None:
    schedule = Schedule()
    schedule.add_epoch({i: FAILED if i == "s0" else MIXED for i in IDS}, (), 0)
    assert "s0" not in drawn_in(schedule, 1)
    schedule.add_epoch({i: MIXED for i in IDS if i != "s0"}, {"s0"}, 1)
    assert "s0" in drawn_in(schedule, 2)
    assert schedule.last["s0"] == FAILED


@given(tallies_of_epochs)
def test_every_epoch_is_full_and_no_sample_rests_for_long(epochs: list[dict[str, Tally]]) -> None:
    schedule, last = Schedule(), dict.fromkeys(IDS, -1)
    for epoch, tallies in enumerate(epochs):
        drawn = drawn_in(schedule, epoch)
        assert len(drawn) == len(IDS)
        assert max(Counter(drawn).values()) <= MOST_DRAWS
        last |= dict.fromkeys(drawn, epoch)
        assert all(epoch - seen < LONGEST_INTERVAL for seen in last.values())
        schedule.add_epoch({i: tallies[i] for i in drawn}, (), epoch)


@given(tallies_of_epochs)
def test_a_schedule_continues_from_its_state(epochs: list[dict[str, Tally]]) -> None:
    schedule = Schedule()
    for epoch, tallies in enumerate(epochs):
        schedule.add_epoch(tallies, IDS[:2], epoch)
    copy = Schedule()
    copy.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert copy == schedule
    assert drawn_in(copy, len(epochs)) == drawn_in(schedule, len(epochs))


def adaptive_loop(folder: Path, method: str = "grpo") -> JointLoop:
    samples = {i: Sample(i, [{"role": "user", "content": i}]) for i in IDS}
    return JointLoop(LoopSettings(sampling="adaptive", method=method), samples, folder, group_size=4, seed=3)


def close_epoch(loop: JointLoop, failed: Sequence[str]) -> list[str]:
    """Draws an epoch, in which these samples fail and the others are mixed. Returns what was drawn."""
    drawn = loop.order(IDS, loop.next_epoch - 1)
    for sample_id in drawn:
        loop.record(sample_id, [float(sample_id not in failed), 0.0, 0.0, 0.0], [False] * 4)
    loop.prompt_step(PromptTools(lambda pairs: [], lambda jobs: []))
    return drawn


def test_the_method_still_knows_the_samples_that_rest(tmp_path: Path) -> None:
    loop = adaptive_loop(tmp_path)
    close_epoch(loop, failed=["s3"])
    assert "s3" not in close_epoch(loop, failed=["s3"])
    assert loop.known_tallies()["s3"] == FAILED
    assert "s3" not in loop.ledger.tallies


def test_a_resumed_loop_draws_the_same(tmp_path: Path) -> None:
    loop, copy = adaptive_loop(tmp_path / "first"), adaptive_loop(tmp_path / "second")
    for _ in range(2):
        close_epoch(loop, failed=IDS[:5])
    copy.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    assert copy.order(IDS, 2) == loop.order(IDS, 2) != IDS
    assert [close_epoch(copy, IDS[:5]) for _ in range(3)] == [close_epoch(loop, IDS[:5]) for _ in range(3)]


class Sorted(Method):
    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        return sorted(ids)


def test_a_method_with_an_order_of_its_own_is_not_scheduled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has an order of its own; leave sampling at uniform"):
        adaptive_loop(tmp_path, method=f"{__file__}:Sorted")


def test_the_last_epoch_says_what_was_drawn_how_often(tmp_path: Path) -> None:
    loop = adaptive_loop(tmp_path)
    close_epoch(loop, failed=["s3"])
    drawn = Counter(IDS + loop.order(IDS, 1))
    for sample_id in loop.order(IDS, 1):
        loop.record(sample_id, [1.0, 0.0, 0.0, 0.0], [False] * 4)
    samples = Counter(drawn.values())
    line = ", ".join(f"{counted(samples[n], 'sample')} {counted(n, 'time')}" for n in sorted(samples))
    assert loop.close(write=False).notes == [f"drawn in all: {line}"]
