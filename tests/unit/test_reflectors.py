"""Reflection prompts, reading of replies, and the reflectors that need no network."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.base.text import shorten
from p2o.core.evolve import ReflectionJob, Reply
from p2o.core.evolve.prompt import reflection_prompt
from p2o.core.evolve.reading import read_reply, without_reasoning
from p2o.reflectors import GENERAL_BANK, BatchReflector, CallableReflector, PhrasesReflector
from p2o.reflectors.phrases import format_reminders, split_phrases


def job(template: str = "", seed: int = 0, feedback: str = "", prompt: str = "p") -> ReflectionJob:
    return ReflectionJob(template, [("q", "c", feedback, 0.0)], seed, prompt)


@pytest.mark.parametrize(
    ("text", "template", "fate"),
    [
        ("```\nA b.\n```", "A b.", ""),
        ("```text\nA b.\n```\nthanks", "A b.", ""),
        ("```A b.```", "A b.", ""),
        ("first ```\none\n``` then ```\ntwo\n```", "two", ""),
        ("```\none\n```\nand ```\nunclosed", "one", ""),
        ("<think>```\nno\n```</think>\n```\nyes\n```", "yes", ""),
        ("```\nno\n``` so </think> ```\nyes\n```", "yes", ""),  # opened in the prompt
        ("<Reasoning>x</reasoning>```\r\nyes\r\n```", "yes", ""),
        ("```\nReason inside <think></think> tags.\n```", "Reason inside <think></think> tags.", ""),
        ("<think>```\nno\n```", "", "unclosed_reasoning"),
        # nested fences, by length, by character and by info word
        ("````\nUse:\n```\na\n```\nThen.\n````", "Use:\n```\na\n```\nThen.", ""),
        ("~~~\nUse:\n```\na\n```\nThen.\n~~~", "Use:\n```\na\n```\nThen.", ""),
        ("```\nUse:\n~~~\na\n~~~\nThen.\n```", "Use:\n~~~\na\n~~~\nThen.", ""),
        ("```\nUse:\n```python\na\n```\nThen.\n```", "Use:\n```python\na\n```\nThen.", ""),
        ("```md\nUse:\n```c++\na\n```\nor\n```f#\nb\n```\n```", "Use:\n```c++\na\n```\nor\n```f#\nb\n```", ""),
        ("Here:\n```\nUse:\n```json\n{}\n```\nThen.```", "Use:\n```json\n{}\n```\nThen.", ""),
        ("```\nWrite ```x``` so.\n```", "Write ```x``` so.", ""),
        ("```\n```x``` is the form.\n```", "```x``` is the form.", ""),
        ("```text\nold\n```\nBetter:\n```text\nnew\n```", "new", ""),
        ("```Think of\nsteps.\n```", "Think of\nsteps.", ""),
        # the tail alone is not the instruction
        ("```\nUse:\n```\na\n```\nThen.\n```", "Use:\n```\na\n```\nThen.", "ambiguous"),
        ("Here:\n```\nUse:\n```\na\n```\nThen.\n```\nDone.", "Use:\n```\na\n```\nThen.", "ambiguous"),
        ("```\nUse:\n````\na\n````\nThen.\n```", "Use:\n````\na\n````\nThen.\n```", "ambiguous"),
        ("```\nUse:\n```\na\n```\nThen, cut", "Use:\n```\na\n```\nThen, cut", "ambiguous"),
        # without a fence
        ("Think step by step.", "Think step by step.", ""),
        ("<think>hm</think>\nThe answer stands in a box.\n", "The answer stands in a box.", ""),
        ("I'm sorry, I cannot do that.", "", "no_fence"),
        ("Here is a better instruction: think.", "", "no_fence"),
        ("The model forgets the box.", "", "no_fence"),
        ("The improved instruction is: think.", "", "no_fence"),
        ("x" * 101, shorten("x" * 101, 100), "too_long"),
        ("<think>hm</think>  ", "", "empty"),
        # what a terminal would obey is taken out
        ("```\nBe \x1b]52;c;aGk=\x07go\u202eod\x00.\n```", "Be good.", ""),
        ("```\nonly opened", "", "no_fence"),
        ("", "", "empty"),
        (" \n", "", "empty"),
        ("```\n \n```", "", "empty"),
        ("```\n" + "x" * 101 + "\n```", shorten("x" * 101, 100), "too_long"),
    ],
)
def test_reading_replies(text: str, template: str, fate: str) -> None:
    got, got_fate, reason = read_reply(text, 100)
    assert (got, got_fate) == (template, fate)
    assert bool(reason) == bool(fate)


@given(st.text())
def test_reading_never_fails(text: str) -> None:
    template, fate, _ = read_reply(text, 50)
    assert len(template) <= 50
    assert (fate == "") <= bool(template)
    without_reasoning(text)


@given(st.lists(st.sampled_from(["```", "````", "~~~", "```py", "\n", "a", " ", "<think>", "</think>"]), max_size=20))
def test_a_template_is_a_part_of_the_reply(pieces: list[str]) -> None:
    text = "".join(pieces)
    template, fate, _ = read_reply(text, 1000)
    assert template in text
    assert fate or template


@pytest.mark.parametrize("piece", ["```", "``` ", "```x", "```\n", "<think></think>", "~~~`", "\x1b]", "</think>"])
def test_reading_takes_no_time(piece: str) -> None:
    start = time.monotonic()
    read_reply(piece * (1_000_000 // len(piece)), 4000)
    assert time.monotonic() - start < 10


@given(st.text(max_size=300), st.integers(0, 300))
def test_shorten(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= max(limit, 0)
    assert (short == text) == (len(text) <= limit)


def test_prompt_holds_everything_when_it_fits() -> None:
    records = [("what is 1+1?", "three {braces}", "wrong", 0.0), ("and 2+2?", "4", "right", 1.0)]
    prompt, cut = reflection_prompt("Be {careful}.", records, 10_000)
    assert not cut
    for part in ("Be {careful}.", "what is 1+1?", "three {braces}", "wrong", "and 2+2?", "right", "```"):
        assert part in prompt


@given(
    st.integers(0, 3000), st.lists(st.tuples(*[st.integers(0, 4000)] * 3), min_size=1, max_size=5),
    st.integers(3000, 9000),
)  # fmt: skip
def test_prompt_fits(n_template: int, lengths: list[tuple[int, int, int]], limit: int) -> None:
    records = [("q" * a, "o" * b, "f" * c, 0.5) for a, b, c in lengths]
    prompt, cut = reflection_prompt("t" * n_template, records, limit)
    assert len(prompt) <= limit
    full, _ = reflection_prompt("t" * n_template, records, 10**9)
    assert cut == (len(full) > limit)


def test_outputs_are_shortened_before_anything_else() -> None:
    prompt, cut = reflection_prompt("keep me", [("q" * 500, "a" + "o" * 9000 + "z", "f" * 300, 0.0)], 4000)
    assert cut
    assert len(prompt) > 3900
    assert "q" * 500 in prompt
    assert "f" * 300 in prompt
    assert "ao" in prompt
    assert "oz" in prompt


def test_a_callable_fails_one_job_at_a_time() -> None:
    def fn(prompt: str) -> str:
        if prompt == "bad":
            raise ValueError("private")
        return {"none": None}.get(prompt, f"re {prompt}")  # type: ignore[return-value]

    good, raised, empty = CallableReflector(fn)([job(prompt=p) for p in ("a", "bad", "none")])
    assert good == Reply("re a")
    assert (raised.text, raised.error) == (None, "ValueError")
    assert raised.reason.startswith("ValueError: private (in ")  # and the place in the user's file
    assert empty == Reply(None, "no_text", reason="the function returned NoneType, not text")


def test_a_batch_reflector_may_count_tokens() -> None:
    reflector = BatchReflector(lambda prompts: ["x", Reply("y", None, 3, 4)])
    assert reflector([job(), job()]) == [Reply("x"), Reply("y", None, 3, 4)]


def test_phrases_are_deterministic_and_sometimes_large() -> None:
    reflector = PhrasesReflector()
    sizes: Counter[int] = Counter()
    for seed in range(800):
        text = reflector.propose(job(seed=seed))
        assert text == reflector.propose(job(seed=seed))
        phrases = split_phrases(text, GENERAL_BANK)
        assert set(phrases) <= set(GENERAL_BANK)
        sizes[len(phrases)] += 1
    assert set(sizes) == set(range(1, 9))
    assert min(sizes.values()) > 60  # uniform: 100 each
    template, fate, _ = read_reply(reflector([job(seed=1)])[0].text or "", 4000)
    assert (template, fate) == (reflector.propose(job(seed=1)), "")


def test_phrases_keep_most_of_the_parent() -> None:
    bank = [f"Phrase {c}." for c in "abcdefghijkl"]
    parent = "Phrase a. My own sentence! Phrase c."
    children = [PhrasesReflector(bank).propose(job(parent, seed)) for seed in range(400)]
    share = sum("My own sentence!" in c for c in children) / 400
    assert 0.55 < share < 0.85
    assert split_phrases(parent, bank) == ["Phrase a.", "My own sentence!", "Phrase c."]


def test_four_groups_come_together_often_enough() -> None:
    groups = [[f"useful {g}{i}." for i in "ab"] for g in "wrcf"]
    bank = [p for g in groups for p in g] + [f"useless {i}." for i in "abcdefgh"]
    reflector = PhrasesReflector(bank)
    hits = sum(
        all(any(p in t for p in g) for g in groups) for t in (reflector.propose(job(seed=s)) for s in range(2000))
    )
    assert hits / 2000 > 0.04  # 16 proposals find the conjunction in an iteration or two


def test_format_reminders_come_from_the_feedback_without_answers() -> None:
    feedback = (
        "Wrong answer. The right answer is 42, in the final answer. Put the final answer inside \\boxed{}.\n"
        "The answer must end with a period! Your answer was 17. Nothing else."
    )
    assert format_reminders(feedback) == [
        "Put the final answer inside \\boxed{}.",
        "The answer must end with a period!",
    ]
    texts = [PhrasesReflector(["A."], 2).propose(job(seed=s, feedback=feedback)) for s in range(50)]
    assert any("\\boxed{}" in t for t in texts)
    assert not any("42" in t or "17" in t for t in texts)


def test_the_whole_text_behind_wrong_format_is_a_reminder():
    example = "answer as in this example:\n20 + 30 = 50\nThe result is 50."
    assert format_reminders(f"Wrong format: {example} Reward: 0.") == [f"A{example[1:]}"]
    # Elsewhere a sentence with a number may tell an answer.
    assert format_reminders("Wrong answer: 4. The right answer is 5. Reward: 0.") == []


def test_reminders_of_several_lines_stand_on_lines_of_their_own():
    records = [("q", "c", "Wrong format: as in\n1 + 1 = 2. Reward: 0.", 0.0)]
    reflector = PhrasesReflector(["Be brief."], max_phrases=2)
    proposals = {reflector.propose(ReflectionJob("", records, seed, "")) for seed in range(40)}
    assert "As in\n1 + 1 = 2.\nBe brief." in proposals
