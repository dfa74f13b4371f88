"""When an evolution is put off: GRPO gets on without templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.core.hard import Tally
from p2o.core.loop import JointLoop
from p2o.core.methods import PromptTools
from p2o.core.samples import Rollout, Sample
from p2o.core.settings import LoopSettings
from p2o.core.worth import LARGE, LEAST_LIVE, alone_note, gets_on_alone, live_share

shares = st.floats(0, 1)


def epoch(failed: int, mixed: int, solved: int) -> list[Tally]:
    return [Tally(6, 0)] * failed + [Tally(6, 1)] * mixed + [Tally(6, 6)] * solved


@pytest.mark.parametrize(
    ("tallies", "live"),
    [(epoch(128, 0, 32), 0.0), (epoch(30, 10, 0), 0.25), (epoch(30, 10, 500), 0.25), (epoch(0, 0, 9), 0.0), ([], 0.0)],
)
def test_solved_groups_do_not_count(tallies: list[Tally], live: float) -> None:
    assert live_share(tallies) == live


def test_a_strict_world_evolves_at_once_and_a_mild_one_waits() -> None:
    assert not gets_on_alone(live_share(epoch(128, 5, 27)), None)
    assert gets_on_alone(live_share(epoch(110, 22, 28)), None)


def test_it_waits_as_long_as_more_and_more_groups_are_mixed() -> None:
    assert gets_on_alone(0.20, before=0.15)
    assert not gets_on_alone(0.20, before=0.20)
    assert gets_on_alone(LARGE, before=LARGE)


@given(shares, st.none() | shares)
def test_where_almost_all_fail_it_never_waits(live: float, before: float | None) -> None:
    assert not gets_on_alone(min(live, LEAST_LIVE * 0.99), before)


@given(shares, shares, shares)
def test_more_mixed_groups_never_end_the_waiting(live: float, more: float, before: float) -> None:
    low, high = sorted((live, more))
    assert gets_on_alone(low, before) <= gets_on_alone(high, before)


def loop_with(folder: Path, groups: list[int], **changes: Any) -> JointLoop:
    """A loop with an epoch behind it: ``groups`` are the successes of each sample's six rollouts."""
    samples = [Sample(f"s{n:02d}", [{"role": "user", "content": f"What is {n}?"}]) for n in range(len(groups))]
    settings = LoopSettings(hard_min_count=8, evolve_when="stuck", evolve_budget="60", bare_slots=0, **changes)
    loop = JointLoop(settings, {s.id: s for s in samples}, folder, group_size=6, seed=1)
    record(loop, groups)
    return loop


def record(loop: JointLoop, groups: list[int]) -> None:
    for sample_id, solved in zip(loop.samples, groups, strict=True):
        loop.record(sample_id, [1.0] * solved + [0.0] * (6 - solved), [False] * 6)


def test_the_note_counts_the_groups_that_are_not_all_solved() -> None:
    assert "13 of the 46 unsolved groups hold right and wrong answers" in alone_note(epoch(33, 13, 26))


def test_the_loop_puts_an_evolution_off_says_so_and_evolves_when_it_is_stuck(tmp_path: Path) -> None:
    tools = PromptTools(lambda pairs: [Rollout("", 0.0, False) for _ in pairs], lambda jobs: [])
    loop = loop_with(tmp_path, [0] * 16 + [1] * 4)
    assert not loop.rolls_out_next()
    summary = loop.prompt_step(tools)
    assert not summary.evolved
    assert summary.notes == [
        "no evolution yet: 4 of the 20 unsolved groups hold right and wrong answers, so GRPO learns from them without "
        "templates"
    ]
    continued = loop_with(tmp_path, [])
    continued.samples = loop.samples
    continued.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    for later in (loop, continued):
        record(later, [0] * 16 + [1] * 4)  # no more mixed groups than before
        assert later.rolls_out_next()
    assert loop.prompt_step(tools).evolved


def test_by_default_it_evolves_whenever_enough_samples_are_hard(tmp_path: Path) -> None:
    loop = loop_with(tmp_path, [0] * 16 + [1] * 4)
    loop.settings.evolve_when = "hard"
    assert loop.rolls_out_next()
