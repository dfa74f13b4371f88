"""The rule ``smoothed``: when help is withdrawn, when it comes back, and which slots are bare."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from p2o.core.evolve import Reply
from p2o.core.hard import Tally
from p2o.core.loop import JointLoop
from p2o.core.methods import PromptTools
from p2o.core.samples import Rollout, Sample
from p2o.core.settings import LoopSettings
from p2o.core.withdrawal import LEAVE, RETURN, Help, Withdrawal, needs_of

SLOTS = 6


def need_after(help_: Help, tally: Tally, helped: bool) -> str:
    help_.add_epoch({"a": tally})
    return help_.decide(needs_of({"a": tally}, "smoothed", 1), {"a"} if helped else ())["a"]


def test_one_lucky_bare_rollout_does_not_withdraw_help() -> None:
    lucky = Tally(bare=1, bare_solved=1, templated=5, templated_solved=4)
    assert needs_of({"a": lucky}, "graduated", 1) == {"a": "bare"}
    assert need_after(Help(), lucky, helped=True) == "kept"


def test_steady_bare_success_withdraws_it_and_one_bad_epoch_does_not_bring_it_back() -> None:
    help_ = Help()
    assert need_after(help_, Tally(1, 1, 5, 5), helped=True) == "kept"
    assert need_after(help_, Tally(4, 4, 2, 2), helped=True) == "bare"
    assert need_after(help_, Tally(6, 5), helped=False) == "bare"
    assert need_after(help_, Tally(6, 1), helped=False) == "bare"  # hard by this epoch alone
    assert RETURN <= help_.bare_success("a") < LEAVE


def test_help_comes_back_on_regression() -> None:
    help_ = Help()
    need_after(help_, Tally(1, 1, 5, 5), helped=True)
    assert need_after(help_, Tally(4, 4, 2, 2), helped=True) == "bare"
    assert need_after(help_, Tally(6, 0), helped=False) == "kept"


def test_templates_that_do_not_work_are_replaced() -> None:
    assert need_after(Help(), Tally(1, 0, 5, 1), helped=True) == "hard"


def test_a_sample_that_was_never_helped_is_hard_or_bare() -> None:
    assert need_after(Help(), Tally(6, 1), helped=False) == "hard"
    assert need_after(Help(), Tally(6, 2), helped=False) == "bare"


def bare_places(success: float, rng: random.Random, least: int = 1) -> list[int]:
    help_ = Help({"a": success * (100 + 2)}, {"a": 100.0})
    assert help_.bare_success("a") == pytest.approx(success)
    mixed = help_.with_bare_slots("a", ["t"] * SLOTS, least, rng)
    assert len(mixed) == SLOTS
    return [n for n, template in enumerate(mixed) if not template]


@pytest.mark.parametrize(("success", "expected"), [(0.0, 1.0), (0.125, 2.0), (0.2, 2.6), (0.4, 4.2), (0.5, 5.0)])
def test_the_bare_share_grows_with_success(success: float, expected: float) -> None:
    rng = random.Random(0)
    counts = [len(bare_places(success, rng)) for _ in range(2000)]
    assert sum(counts) / len(counts) == pytest.approx(expected, abs=0.05)
    assert set(counts) <= {int(expected), int(expected) + 1}


def test_bare_slots_are_at_random_places_that_follow_from_the_seed() -> None:
    places = [bare_places(0.0, random.Random(seed))[0] for seed in range(60)]
    assert set(places) == set(range(SLOTS))
    assert places == [bare_places(0.0, random.Random(seed))[0] for seed in range(60)]


def test_the_state_survives_json() -> None:
    help_ = Help()
    help_.add_epoch({"a": Tally(1, 1, 5, 5), "b": Tally(6, 6)})
    assert Help(**asdict(help_)) == help_
    assert "b" not in help_.drawn  # it never needed help


@pytest.mark.parametrize(("rule", "slots"), [("solved", 0), ("graduated", 1), ("smoothed", 1)])
def test_rules_that_look_at_bare_rollouts_have_one(rule: Withdrawal, slots: int) -> None:
    settings = LoopSettings(withdrawal=rule)
    settings.check_loop(4)
    assert settings.bare_slots == slots


def events(rule: Withdrawal, bare_success: float, rng: random.Random, epochs: int = 40) -> int:
    """Withdraw-and-return events of one sample whose bare success stays what it is; its template always works."""
    help_, helped, withdrawn, count = Help(), True, False, 0
    for _ in range(epochs):
        if not helped:
            bare = SLOTS
        elif rule == "smoothed":
            bare = sum(not t for t in help_.with_bare_slots("a", ["t"] * SLOTS, 1, rng))
        else:
            bare = 1
        solved = sum(rng.random() < bare_success for _ in range(bare))
        tally = Tally(bare, solved, SLOTS - bare, SLOTS - bare)
        needs = needs_of({"a": tally}, rule, 1)
        if rule == "smoothed":
            help_.add_epoch({"a": tally})
            needs = help_.decide(needs, {"a"} if helped else ())
        helped, before = needs["a"] != "bare", helped
        count += helped and not before and withdrawn
        withdrawn |= not helped
    return count


@pytest.mark.parametrize("bare_success", [0.1, 0.2, 0.3, 0.4, 0.6])
def test_there_are_at_most_half_as_many_returns_as_under_graduated(bare_success: float) -> None:
    def total(rule: Withdrawal) -> int:
        return sum(events(rule, bare_success, random.Random(seed)) for seed in range(200))

    assert total("smoothed") <= total("graduated") / 2


# --- in the loop -----------------------------------------------------------------------------------------------------


def loop_in(folder: Path, rule: Withdrawal = "smoothed") -> JointLoop:
    samples = {f"s{n:02d}": Sample(f"s{n:02d}", [{"role": "user", "content": f"What is {n}?"}]) for n in range(16)}
    settings = LoopSettings(hard_min_count=8, dev_size=8, evolve_budget="200", withdrawal=rule)
    settings.check_loop(SLOTS)
    return JointLoop(settings, samples, folder, SLOTS, seed=1)


def record(loop: JointLoop, bare_is_solved: bool) -> None:
    """An epoch in which every templated rollout is solved."""
    for i in loop.samples:
        templated = [bool(loop.template(i, slot)) for slot in range(SLOTS)]
        loop.record(i, [float(t or bare_is_solved) for t in templated], templated)


def tools_with(template: str) -> PromptTools:
    return PromptTools(
        lambda pairs: [Rollout("", float(t == template), t == template, "Wrong.") for t, _ in pairs],
        lambda jobs: [Reply(f"```\n{template}\n```", None, 0, 0) for _ in jobs],
    )


def bare_shares(loop: JointLoop) -> list[float]:
    return [texts.count("") / SLOTS for texts in loop.assignment.values()]


def test_help_fades_is_withdrawn_and_comes_back_without_a_new_evolution(tmp_path: Path) -> None:
    loop, tools = loop_in(tmp_path), tools_with("Think.")
    told = []
    for bare_is_solved in (False, False, True, True, True, False, False):
        record(loop, bare_is_solved)
        told.append(loop.prompt_step(tools))
        if len(told) == 1:
            assert bare_shares(loop) == [1 / SLOTS] * 16
            assert len({texts.index("") for texts in loop.assignment.values()}) > 1  # at random places
        if len(told) == 3:
            assert min(bare_shares(loop)) > 1 / SLOTS
    assert [s.evolved for s in told] == [True, *[False] * 6]
    assert [s.templated_next for s in told] == [16, 16, 16, 0, 0, 0, 16]
    assert [s.returned for s in told] == [0, 0, 0, 0, 0, 0, 16]


def test_the_events_of_the_other_rules_are_counted_too(tmp_path: Path) -> None:
    loop, tools = loop_in(tmp_path, "graduated"), tools_with("Think.")
    told = []
    for bare_is_solved in (False, True, False, True):
        record(loop, bare_is_solved)
        told.append(loop.prompt_step(tools))
    assert [s.returned for s in told] == [0, 0, 16, 0]


def test_a_resumed_loop_draws_the_same_bare_slots(tmp_path: Path) -> None:
    loop = loop_in(tmp_path / "one")
    for bare_is_solved in (False, True):
        record(loop, bare_is_solved)
        loop.prompt_step(tools_with("Think."))
    other = loop_in(tmp_path / "two")
    other.load_state_dict(json.loads(json.dumps(loop.state_dict())))
    assert other.assignment == loop.assignment
    for each in (loop, other):
        record(each, False)
        each.prompt_step(tools_with("Think."))
    assert other.assignment == loop.assignment
    assert other.state_dict() == loop.state_dict()
