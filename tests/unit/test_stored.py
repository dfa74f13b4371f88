"""How the loop's state and an epoch's file are stored: each text once, slots as numbers, tallies as rows."""

from __future__ import annotations

import json
import pickle
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.base.files import as_lines, read_json
from p2o.core.epoch_files import read_epoch, write_epoch
from p2o.core.hard import HardLedger, Tally
from p2o.core.loop import JointLoop
from p2o.core.samples import Sample
from p2o.core.settings import LoopSettings
from p2o.core.stored import TextNumbers, field_rows, from_field_rows, slots_by_number, slots_by_text
from p2o.core.summary import EpochSummary
from p2o.core.templates import PoolTemplate
from p2o.errors import StateError

MB = 1_000_000

texts = st.text(max_size=8)
slots = st.dictionaries(texts, st.lists(texts, max_size=6), max_size=12)
counts = st.integers(0, 64)
tallies = st.dictionaries(texts, st.builds(Tally, counts, counts, counts, counts, st.booleans()), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=6),
    max_leaves=60,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(slots)
def test_slots_come_back_as_they_were(assignment: dict[str, list[str]]) -> None:
    stored = slots_by_number(assignment)
    assert slots_by_text(through_json(stored)) == assignment
    assert sorted(stored["templates"]) == sorted({t for row in assignment.values() for t in row} - {""})


@given(st.lists(texts))
def test_a_text_has_one_number_and_the_empty_text_none(given_texts: list[str]) -> None:
    numbers = TextNumbers()
    found = [numbers.number(text) for text in given_texts]
    assert ["" if n is None else numbers.texts[n] for n in found] == given_texts
    assert len(set(numbers.texts)) == len(numbers.texts)
    assert TextNumbers(numbers.texts).number("new text of more than 8") == len(numbers.texts)


@given(tallies)
def test_tallies_come_back_as_they_were(found: dict[str, Tally]) -> None:
    assert from_field_rows(Tally, through_json(field_rows(found))) == found
    ledger, again = HardLedger(0.5), HardLedger()
    ledger.tallies = found
    again.load_state_dict(through_json(ledger.state_dict()))
    assert (again.tallies, again.success_threshold) == (found, 0.5)


@given(json_values)
def test_lines_are_the_same_json(value: Any) -> None:
    assert json.loads(as_lines(value)) == value
    assert json.loads(as_lines({"a": value, "b": [value]})) == {"a": value, "b": [value]}


def test_a_sample_is_a_line_of_the_file(tmp_path: Path) -> None:
    assignment = {"a": ["Think.", "", "Think."], "b": ["Check."] * 3}
    found = {"b": Tally(3, 1, spread=True), "a": Tally(1, 0, 2, 2)}
    path = write_epoch(tmp_path, EpochSummary(4), found, [], assignment)
    assert path.name == "epoch-004.json"
    assert '\n  "a": [0, null, 0],\n' in path.read_text()
    assert '\n  "b": [3, 1, 0, 0, true]\n' in path.read_text()
    epoch = read_epoch(path)
    assert (epoch["assignment"], epoch["tallies"]) == (assignment, found)


@settings(deadline=None, max_examples=25)  # each writes to the disk
@given(slots, tallies)
def test_an_epochs_file_is_read_as_it_was_written(assignment: dict[str, list[str]], found: dict[str, Tally]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        epoch = read_epoch(write_epoch(Path(folder), EpochSummary(0), found, [{"text": "x"}], assignment))
    assert (epoch["assignment"], epoch["tallies"], epoch["pool"]) == (assignment, found, [{"text": "x"}])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 1}, r"epoch-000.json has schema 1, this version reads 2"),
        ({"templates": []}, r"epoch-000.json is damaged \(KeyError: 0\)"),
        ({"assignment": [1]}, r"epoch-000.json is damaged"),
        ({"tallies": {"a": [1, 2, 3, 4, 5, 6]}}, r"epoch-000.json is damaged"),
        ({"pool": ...}, r"epoch-000.json is damaged \(KeyError: 'pool'\)"),
    ],
)
def test_another_version_or_damage_is_one_sentence(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = write_epoch(tmp_path, EpochSummary(0), {"a": Tally(2)}, [], {"a": ["Think.", ""]})
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    with pytest.raises(StateError, match=says):
        read_epoch(path)


def test_long_templates_on_many_hard_samples_take_little_room(tmp_path: Path) -> None:
    pool = [PoolTemplate(f"{n} " + "x" * 1_700, 0.5, frozenset()) for n in range(16)]
    rng = random.Random(0)
    ids = [f"{n:016x}" for n in range(5_000)]
    loop = JointLoop(LoopSettings(), {i: Sample(i, []) for i in ids}, tmp_path, 6, 0)
    loop.method.templates = pool  # type: ignore[attr-defined]
    loop.method.assignment = {i: [t.text for t in rng.choices(pool, k=6)] for i in ids}  # type: ignore[attr-defined]
    loop.load_state_dict(through_json(loop.state_dict()))
    for i in ids:
        loop.record(i, [0.0] * 6, [True] * 6)
    state = loop.state_dict()
    assert len(as_lines(state)) < 2 * MB
    loop.close()
    (file,) = tmp_path.glob("epoch-*.json")
    assert file.stat().st_size < 2 * MB
    assert read_json(file, 2)["templates"] == list(dict.fromkeys(t for row in loop.assignment.values() for t in row))
    received = through_json(state)  # as on a process that was resumed: no text is shared in its memory
    assert len(pickle.dumps(received)) < 2 * MB
    loop.load_state_dict(received)
    assert len(pickle.dumps(loop.state_dict())) < 2 * MB
    assert read_epoch(file)["assignment"] == loop.assignment
