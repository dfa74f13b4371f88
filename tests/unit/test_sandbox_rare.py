"""The world `rare`: its bank, its data, and what its policy is taught."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import p2o
from p2o.rewards.rules import last_number

WORLD = Path(p2o.__file__).parent / "data" / "sandbox-rare"
LABORATORY = Path(__file__).resolve().parents[2] / "tools" / "sandbox"
RECIPE = WORLD.parents[1] / "runs" / "recipes" / "rare.yaml"
SIZES = {"train": 144, "dev": 48, "test": 144}
SOMETIMES = ("right", "left", "running", "again")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(LABORATORY))
    import rare_world

    return rare_world


@pytest.fixture
def questions(world: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    import pretrain_rare

    return [q for part in pretrain_rare.make_questions().values() for q in part]


def rows(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (WORLD / f"{split}.jsonl").read_text("utf-8").splitlines()]


def is_right(question: Any, text: str) -> bool:
    return last_number(text) == question.right


def test_the_recipe_has_the_bank(world: Any) -> None:
    from rare_phrases import PHRASE_BANK, PHRASES

    assert yaml.safe_load(RECIPE.read_text("utf-8"))["reflector_phrases"] == PHRASE_BANK
    assert len(PHRASE_BANK) == len(set(PHRASE_BANK)) >= 200
    assert sum(map(len, PHRASES.values())) == 30


def test_the_data_is_what_the_builder_writes(questions: list[Any]) -> None:
    written = [row for split in SIZES for row in rows(split)]
    assert {split: len(rows(split)) for split in SIZES} == SIZES
    assert [(q.text, q.right) for q in questions] == [(row["prompt"], row["answer"]) for row in written]
    assert len({q.text for q in questions}) == len(questions)
    for split, size in SIZES.items():
        assert set(Counter(row["kind"] for row in rows(split)).values()) == {size // 3}
        assert set(Counter(row["needs"] for row in rows(split))) == {2, 3, 4}


def test_the_line_is_right_exactly_with_the_choices_that_a_question_needs(world: Any, questions: list[Any]) -> None:
    for question in questions:
        needed = set(world.needs(question))
        assert not is_right(question, question.at_once)
        for size in range(len(SOMETIMES) + 1):
            for more in itertools.combinations(SOMETIMES, size):
                text = world.answer(question, ("work", "finish", *more)).text
                assert is_right(question, text) == (needed <= {"work", "finish", *more}), (question, more, text)
        for missing in ("work", "finish"):
            assert not is_right(question, world.answer(question, {*needed, *SOMETIMES} - {missing}).text)


def test_the_table_is_right_on_sums_and_comparisons_alone(world: Any, questions: list[Any]) -> None:
    for question in questions:
        text = world.answer(question, ("work", "table", "row", "finish", *SOMETIMES)).text
        assert is_right(question, text) == (question.kind != "root"), text
        forks = world.answer(question, ("work", "table", "row", "finish")).forks
        assert sum(fork.choice == "table" for fork in forks) >= 2


def test_no_set_of_instructions_makes_all_kinds_likely(world: Any, questions: list[Any]) -> None:
    """The most likely answers under all instructions at once, and under any one order, miss some kind."""
    best = 0.0
    for size in range(1, len(world.CHOICES) + 1):
        for asked in itertools.combinations(world.CHOICES, size):
            solved = 0
            for question in questions:
                made = [c for c in world.CHOICES if c in asked]
                if "right" in asked and "left" in asked:
                    made = [c for c in made if c not in ("right", "left")]  # each with probability 1/2
                solved += is_right(question, world.answer(question, [*made, "row"]).text)
            best = max(best, solved / len(questions))
    assert 0.6 < best < 0.9


def test_where_a_choice_is_made_both_characters_fit(world: Any, questions: list[Any]) -> None:
    from tokenizer import CHARACTERS

    for question in questions:
        for choices in ((), ("work",), world.CHOICES, ("work", "finish"), ("work", "table", "row"), ("work", "table")):
            answer = world.answer(question, choices)
            assert set(answer.text) <= set(CHARACTERS)
            assert all(answer.text[fork.at] in (fork.made, fork.other) for fork in answer.forks)


def test_orders_that_contradict_each_other_are_each_as_likely(world: Any) -> None:
    fork = world.Fork(2, "right", "r", "l")
    assert world.likely(fork, {"right"}, 0.025) == world.TOLD
    assert world.likely(fork, {"left"}, 0.025) == 0.025
    assert world.likely(fork, {"right", "left"}, 0.025) == 0.5
    assert world.likely(world.Fork(1, "table", "|", ":"), {"work"}, 0.025) == world.TABLE
