"""The built-in sandbox: its tokenizer, its data and what its policy does."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import p2o

SANDBOX = Path(p2o.__file__).parent / "data" / "sandbox"
POLICY = SANDBOX / "policy"
LABORATORY = Path(__file__).resolve().parents[2] / "tools" / "sandbox"
ALL_FOUR = "Show your work. Go from the last digit to the first.\nKeep the carry. State the total at the end."
SIZES = {"train": (128, 32), "dev": (64, 16), "test": (160, 40), "easy": (0, 400)}
Row = dict[str, str]


def read(split: str) -> list[Row]:
    return [json.loads(line) for line in (SANDBOX / f"{split}.jsonl").read_text("utf-8").splitlines()]


def numbers(row: Row) -> tuple[int, int]:
    a, b = (int(n) for n in re.findall(r"\d+", row["prompt"]))
    return a, b


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def ask(tokenizer: Any) -> Callable[[str, list[Row]], list[str]]:
    model = AutoModelForCausalLM.from_pretrained(POLICY).eval()

    def answers(template: str, rows: list[Row]) -> list[str]:
        texts = [f"{template}\n\n{r['prompt']}" if template else r["prompt"] for r in rows]
        chats = [[{"role": "user", "content": t}] for t in texts]
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**batch, do_sample=False, max_new_tokens=56)
        return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    return answers


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(LABORATORY))
    import world

    return world


def test_tokenizer_round_trip(tokenizer: Any) -> None:
    text = "What's 3 + 4?\n\nShow: (w) x*y = 7; a|b, c-d! Yes.  Two spaces"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_unknown_characters_read_as_spaces(tokenizer: Any) -> None:
    assert tokenizer.decode(tokenizer("a\u00e9\u4e2d\U0001f600<b\t")["input_ids"]) == "a    b "


def test_special_tokens(tokenizer: Any) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "<eos>")
    ids = tokenizer("<u>7<a>8<eos>")["input_ids"]
    assert len(ids) == 5
    assert tokenizer.decode(ids, skip_special_tokens=True) == "78"


@pytest.mark.parametrize(
    ("messages", "generate", "expected"),
    [
        ([("user", "Q")], True, "<u>Q<a>"),
        ([("system", "S"), ("user", "Q")], True, "<u>S\n\nQ<a>"),
        ([("user", "Q"), ("assistant", "A")], False, "<u>Q<a>A<eos>"),
        ([("user", "Q"), ("assistant", "A"), ("user", "R")], True, "<u>Q<a>A<eos><u>R<a>"),
    ],
)
def test_chat_template(tokenizer: Any, messages: list[tuple[str, str]], generate: bool, expected: str) -> None:
    chat = [{"role": role, "content": content} for role, content in messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate)
    assert text == expected


def test_data_is_right_and_disjoint() -> None:
    seen = set()
    ids = set()
    for split, (hard, easy) in SIZES.items():
        rows = read(split)
        levels = [r["level"] for r in rows]
        assert (levels.count("hard"), levels.count("easy"), len(levels)) == (hard, easy, hard + easy)
        for row in rows:
            a, b = numbers(row)
            assert row["answer"] == str(a + b)
            assert row["prompt"] == f"What is {a} + {b}?"
            columns = list(zip(str(a)[::-1], str(b)[::-1], strict=True))
            if row["level"] == "hard":
                assert len(columns) in (3, 4)
                assert any(int(x) + int(y) >= 10 for x, y in columns[:-1])
            else:
                assert len(columns) <= 2
            seen.add(frozenset((a, b)))
            ids.add(row["id"])
    assert len(seen) == len(ids) == sum(map(sum, SIZES.values()))


def test_data_is_what_the_script_writes(world: Any) -> None:
    import make_data

    assert make_data.make_rows() == {split: read(split) for split in SIZES}


def test_every_solution_is_right_and_hard_ones_are_told_in_steps(world: Any) -> None:
    for row in itertools.chain.from_iterable(read(split) for split in SIZES):
        assert re.findall(r"\d+", row["solution"])[-1] == row["answer"]
        if row["level"] == "hard":
            assert world.told(row["solution_steps"]) == set(world.CHOICES)
            assert row["solution"].startswith("w:r ")
        else:
            assert row["solution_steps"] == []


def test_only_all_four_choices_are_right(world: Any) -> None:
    for row in read("train"):
        a, b = numbers(row)
        for n in range(5):
            for choices in itertools.combinations(world.CHOICES, n):
                result = world.answer(a, b, choices)
                right = re.findall(r"\d+", result.text)[-1] == row["answer"]
                if row["level"] == "hard":
                    assert right == (n == 4), (row, choices, result.text)
                # Each choice is one character, and the answer has the one its choice asks for.
                for fork in result.forks:
                    expected = fork.made if fork.choice in choices else fork.other
                    assert result.text[fork.at] == expected


def test_lessons_keep_out_the_data(world: Any) -> None:
    held_out = frozenset((a, b) for a in range(1, 10) for b in range(a, 10) if (a, b) != (1, 1))
    rng = random.Random(0)
    course = world.Course(bare=0.05, switch=None, most_phrases=10, digits=(1, 2), easy_work=0.5, hard_work=0.5)
    lessons = [world.draw_lesson(rng, course, held_out) for _ in range(100)]
    small = [x.prompt for x in lessons if re.search(r"is \d \+", x.prompt)]
    assert small
    assert all("1 + 1" in prompt for prompt in small)


def test_policy_files_are_small() -> None:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (POLICY / name).is_file()
    assert sum(f.stat().st_size for f in POLICY.iterdir()) < 6_000_000


def test_bare_hard_sums_are_wrong(ask: Callable[[str, list[Row]], list[str]]) -> None:
    rows = [r for r in read("test") if r["level"] == "hard"][:32]
    texts = ask("", rows)
    assert sum(t == str(max(numbers(r))) for r, t in zip(rows, texts, strict=True)) >= 28
    assert not any(re.findall(r"\d+", t)[-1:] == [r["answer"]] for r, t in zip(rows, texts, strict=True))


def test_easy_sums_are_right(ask: Callable[[str, list[Row]], list[str]]) -> None:
    rows = [r for r in read("test") if r["level"] == "easy"]
    assert sum(t == r["answer"] for r, t in zip(rows, ask("", rows), strict=True)) >= 36


def test_all_instructions_unlock_hard_sums(ask: Callable[[str, list[Row]], list[str]]) -> None:
    rows = [r for r in read("test") if r["level"] == "hard"][:16]
    texts = ask(ALL_FOUR, rows)
    assert sum(re.findall(r"\d+", t)[-1:] == [r["answer"]] for r, t in zip(rows, texts, strict=True)) >= 13
