"""What a proposal is made from: minibatches that hold failures, a second parent, phrases of both."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from p2o.core.evolve.breeding import CROSSED, draw_failures, draw_partner
from p2o.core.evolve.prompt import reflection_prompt
from p2o.core.evolve.reflector import ReflectionJob
from p2o.reflectors import PhrasesReflector


@given(st.integers(1, 20), st.integers(1, 5), st.data())
def test_a_minibatch_holds_failures_as_far_as_there_are_any(total: int, size: int, data: st.DataObject) -> None:
    known = data.draw(st.dictionaries(st.integers(0, total - 1), st.booleans()))
    solved = {i for i, one in known.items() if one}
    failed = known.keys() - solved
    unused = data.draw(st.sets(st.integers(0, total - 1)))
    batch, left = draw_failures(unused, solved, failed, total, size, random.Random(data.draw(st.integers())))
    assert len(batch) == len(set(batch)) == min(size, total)
    assert len(failed & set(batch)) >= min(len(failed), size - 1, total)
    unsolved = total - len(solved)
    assert len(solved & set(batch)) == max(0, len(batch) - unsolved)  # only where nothing else is left
    assert left
    assert set(left) == unused - set(batch) or set(left) == set(range(total))


def test_the_rest_of_a_minibatch_is_what_was_not_used() -> None:
    batch, left = draw_failures([7, 8, 9], {0, 1}, {2, 3, 4}, 10, 3, random.Random(0))
    assert len(set(batch) & {2, 3, 4}) == 2
    assert len(set(batch) & {7, 8, 9}) == 1
    assert set(left) == {7, 8, 9} - set(batch)


def test_a_partner_solves_what_the_parent_does_not() -> None:
    solved = [{0, 1, 2}, {0, 1}, {2, 3, 4, 5}, {6}, set()]
    drawn = Counter(draw_partner(solved, 0, random.Random(n)) for n in range(4000))
    assert set(drawn) == {None, 2, 3}
    assert abs(drawn[None] / 4000 - CROSSED) < 0.03
    assert abs(drawn[2] / (drawn[2] + drawn[3]) - 3 / 4) < 0.03
    assert draw_partner([{0}, set()], 0, random.Random(0)) is None


def test_the_prompt_shows_both_parents_and_stays_within_its_length() -> None:
    records = [("What?", "out " * 50, "Wrong.", 0.0)]
    alone, _ = reflection_prompt("First.", records, 12_000)
    both, _ = reflection_prompt("First.", records, 12_000, "Second.")
    assert "First." in both
    assert "Second." in both
    assert "other instruction" not in alone
    short, shortened = reflection_prompt("First. " * 300, records, 3_000, "Second. " * 300)
    assert shortened
    assert len(short) <= 3_000


def test_phrases_of_both_parents_meet() -> None:
    bank = [f"Phrase {letter}." for letter in "abcdefghijkl"]
    reflector = PhrasesReflector(bank, max_phrases=8)
    met = 0
    for seed in range(200):
        job = ReflectionJob("Phrase a. Phrase b.", [], seed, "", "Phrase c. Phrase d.")
        text = reflector.propose(job)
        met += all(f"Phrase {letter}." in text for letter in "abcd")
        assert text.count("Phrase") <= 8
    assert met > 200 * 0.75**4  # by inheritance alone; the bank adds some


def test_without_a_partner_nothing_changes() -> None:
    reflector = PhrasesReflector()
    job = ReflectionJob("Think step by step. Check your result.", [], 5, "")
    assert reflector.propose(job) == reflector.propose(ReflectionJob(job.template, [], 5, "", ""))
