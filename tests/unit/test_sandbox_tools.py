"""The world with a calculator: its tokenizer, its data and what its policy is taught."""

import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from trl.chat_template_utils import is_chat_template_prefix_preserving, parse_response, supports_tool_calling

import p2o
from p2o.generation.calculator import calc

WORLD = Path(p2o.__file__).parent / "data" / "sandbox-tools"
LABORATORY = Path(__file__).resolve().parents[2] / "tools" / "sandbox"
SIZES = {"train": 128, "dev": 64, "test": 160}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WORLD / "policy")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(LABORATORY))
    import tools_world

    return tools_world


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (WORLD / f"{split}.jsonl").read_text("utf-8").splitlines()]


def numbers(row: dict[str, str]) -> tuple[int, int, int]:
    a, b, c = (int(n) for n in re.findall(r"\d+", row["prompt"]))
    return a, b, c


def test_trl_can_use_the_tokenizer(tokenizer: Any) -> None:
    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)


def test_the_prompt_names_the_tools(tokenizer: Any) -> None:
    chat = [{"role": "system", "content": "Hm."}, {"role": "user", "content": "What is 2 * 3 + 4?"}]
    text = tokenizer.apply_chat_template(chat, tools=[calc], tokenize=False, add_generation_prompt=True)
    assert text == "<f>calc <u>Hm.\n\nWhat is 2 * 3 + 4?<a>"


@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        ("<c>calc sum=47*85<eos>", "", [{"sum": "47*85"}]),
        ("<c>calc sum=47*85", "", [{"sum": "47*85"}]),  # cut off
        ("<c>calc sum=3<c>calc sum=4<eos>", "", [{"sum": "3"}, {"sum": "4"}]),
        ("<c>calc 47*85<eos>", "", [{}]),
        ("4387<eos>", "4387", []),
        ("<c><c><eos>", "", []),  # no call: it names no tool
    ],
)
def test_calls_are_read(text: str, content: str, arguments: list[Any], tokenizer: Any) -> None:
    ids = tokenizer(text)["input_ids"]
    message = parse_response(tokenizer, ids, prefix=tokenizer("<f>calc <u>7<a>")["input_ids"], tools=[calc])
    assert [call["function"]["arguments"] for call in message.get("tool_calls") or []] == arguments
    if content or arguments:
        assert message["content"] == content


def test_what_is_called_is_rendered_as_it_was_written(tokenizer: Any) -> None:
    call = {"type": "function", "function": {"name": "calc", "arguments": {"sum": "47*85"}}}
    chat = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "calc", "content": "3995"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<u>x<a><c>calc sum=47*85<eos><t>3995<a>"


def test_the_data_is_right_and_disjoint() -> None:
    seen = set()
    for split, size in SIZES.items():
        found = rows(split)
        assert len(found) == size
        for row in found:
            a, b, c = numbers(row)
            assert row["answer"] == str(a * b + c)
            assert (a, b, c) not in seen
            seen.add((a, b, c))


def test_only_all_four_choices_are_right(world: Any) -> None:
    for row in rows("train")[:40]:
        for k in range(5):
            for choices in itertools.combinations(world.CHOICES, k):
                last = world.conversation(*numbers(row), choices)[-1]
                text = "".join(token for token in last.tokens if token != "<eos>")
                assert (text == row["answer"]) == (k == 4)


def test_lessons_teach_what_the_model_writes_alone(monkeypatch: pytest.MonkeyPatch, world: Any) -> None:
    import pretrain_tools

    rng = random.Random(0)
    for _ in range(50):
        lesson = world.draw_tool_lesson(rng, 0.03, 12)
        row = pretrain_tools.row_of(lesson)
        taught = "".join(
            pretrain_tools.TOOL_VOCABULARY[i] for i, t in zip(row.ids, row.first, strict=True) if t != -100
        )
        assert taught == "".join("".join(part.tokens) for part in lesson.turns if part.of_model)


def test_the_data_is_what_the_script_writes(world: Any) -> None:
    import pretrain_tools

    for split, sums in pretrain_tools.make_sums().items():
        assert [numbers(row) for row in rows(split)] == sums


def test_the_recipes_phrases_are_those_of_the_world(world: Any) -> None:
    from p2o.runs.recipe import load_recipe

    assert load_recipe("quickstart-tools").task.reflector_phrases == world.PHRASE_BANK


def test_the_policy_is_small() -> None:
    assert sum(f.stat().st_size for f in WORLD.rglob("*") if f.is_file()) < 4 * 2**20
