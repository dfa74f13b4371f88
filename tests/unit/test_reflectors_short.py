"""Reflection of small policies: short prompts, a second try for less, and nothing old as news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from p2o.core.evolve import ReflectionJob, Reply
from p2o.core.evolve.reading import read_reply
from p2o.generation.policies import Completion
from p2o.generation.prompt_step import policy_reflector
from p2o.generation.size import asks_short, parameters_of, reflecting_temperature
from p2o.reflectors.control_tokens import ControlGuard
from p2o.reflectors.guard import guard_control_tokens
from p2o.reflectors.short import EXAMPLES, INSTRUCTIONS, short_reflector

JUDGEMENT = "Wrong format: end with a full stop."
JOB = ReflectionJob(
    "Be brief.", [("How many?", "Two", f"{JUDGEMENT} Reward: 0.", 0.0)], 7, "the long prompt", "Be kind."
)


class Small:
    """A model that gives these replies, and remembers what it was asked."""

    def __init__(self, *rounds: Sequence[Reply]) -> None:
        self.rounds = list(rounds)
        self.asked: list[list[Any]] = []

    def __call__(self, conversations: Sequence[Any]) -> list[Reply]:
        self.asked.append(list(conversations))
        return list(self.rounds[len(self.asked) - 1])


def said(conversation: Any) -> str:
    return "\n".join(turn["content"] for turn in conversation)


def template(reply: Reply) -> str:
    return read_reply(reply.text or "", 1000)[0]


def test_a_small_model_sees_worked_examples_then_one_failure_and_the_parents() -> None:
    model = Small([Reply("Write a full stop.")])
    assert short_reflector(model)([JOB]) == [Reply("Write a full stop.")]
    [[conversation]] = model.asked
    assert [turn["role"] for turn in conversation] == ["user", "assistant"] * len(INSTRUCTIONS) + ["user"]
    last = conversation[-1]["content"]
    for part in ("How many?", "Two", JUDGEMENT, "Be brief.", "Be kind."):
        assert part in last
    assert "Reward" not in last  # a number is no advice
    assert len(said(conversation)) < 2000


def test_half_of_the_jobs_ask_for_advice_and_quote_the_form() -> None:
    jobs = [replace(JOB, seed=seed) for seed in range(100)]
    model = Small([Reply("Count them.\nOr not.")] * 100)
    replies = short_reflector(model)(jobs)
    asked = ["Give advice" in said(conversation) for conversation in model.asked[0]]
    assert 30 < sum(asked) < 70
    assert all("How many?" in said(conversation) for conversation in model.asked[0])
    got = {
        advice: {template(r) for r, a in zip(replies, asked, strict=True) if a == advice} for advice in (True, False)
    }
    form = "End with a full stop."
    assert got == {True: {f"Count them.\n{form}", f"{form}\nCount them."}, False: {"Count them.\nOr not."}}


def test_a_job_fails_on_its_worst_rollout_and_seeds_show_different_ones() -> None:
    records = [("q0", "a", "good", 1.0), *((f"q{n}", "a", "bad", 0.0) for n in range(1, 4))]
    model = Small([Reply("x")] * 40)
    short_reflector(model)([ReflectionJob("", records, seed, "") for seed in range(40)])
    shown = {q for c in model.asked[0] for q in ("q0", "q1", "q2", "q3") if f"Question: {q}\n" in said(c)}
    assert shown == {"q1", "q2", "q3"}


@pytest.mark.parametrize(
    "first",
    [
        Reply("Here is a better instruction: no idea", None, 10, 5),  # an explanation
        Reply("```\nBe brief.\n```", None, 10, 5),  # the parent again
        Reply("be  BRIEF", None, 10, 5),
        Reply("Be kind.", None, 10, 5),  # the other parent
        Reply(EXAMPLES[0], None, 10, 5),  # an example is no reply
        Reply("", None, 10, 5),
        Reply("<think>hm", None, 10, 5),
    ],
)
def test_an_unusable_reply_is_asked_for_once_more_for_less(first: Reply) -> None:
    good = Reply("Good as it is.", None, 20, 6)
    model = Small([good, first], [Reply("Count them.", None, 3, 4)])
    fine, second = short_reflector(model)([JOB, JOB])
    assert fine == good
    assert template(second) == "Count them.\nEnd with a full stop."
    assert (second.prompt_tokens, second.completion_tokens) == (13, 9)  # both tries are counted
    assert len(model.asked[1]) == 1
    assert len(said(model.asked[1][0])) < len(said(model.asked[0][0]))


def test_the_parents_text_is_never_returned_as_news() -> None:
    job = replace(JOB, records=[("How many?", "Two", "Wrong answer.", 0.0)])
    model = Small([Reply("Be brief", None, 10, 5)], [Reply("BE BRIEF!", None, 3, 4)])
    [reply] = short_reflector(model)([job])
    assert (reply.text, reply.error) == (None, "repeated")
    assert (reply.prompt_tokens, reply.completion_tokens) == (13, 9)


def test_what_stays_unusable_comes_back_as_it_was() -> None:
    model = Small([Reply("Sure, I can help.", None, 10, 5)], [Reply(None, "prompt_too_long")])
    [reply] = short_reflector(model)([JOB])
    assert reply == Reply("Sure, I can help.", None, 10, 5)
    assert read_reply(str(reply.text), 100)[1] == "no_fence"


def test_a_prompt_that_is_too_long_gets_the_shorter_one_and_a_failure_does_not() -> None:
    too_long, failed = Reply(None, "prompt_too_long"), Reply(None, "timeout")
    model = Small([too_long, failed], [Reply("Count them.")])
    late, lost = short_reflector(model)([JOB, JOB])
    assert template(late) == "Count them.\nEnd with a full stop."
    assert lost == failed
    assert len(model.asked[1]) == 1


def test_a_policy_is_asked_in_full_or_in_short() -> None:
    asked: list[Any] = []

    def complete(prompts: Sequence[Any]) -> list[Completion]:
        asked.extend(prompts)
        return [Completion("End with a full stop.", 3, 2) for _ in prompts]

    for short in (False, True):
        assert policy_reflector(complete, short=short)([JOB]) == [Reply("End with a full stop.", None, 3, 2)]
    full, few = asked
    assert full == [{"role": "user", "content": "the long prompt"}]
    assert "the long prompt" not in said(few)
    policy_reflector(complete, chat=False, short=True)([JOB])
    assert asked[-1] == "the long prompt"  # without a chat there are no exchanges


def config(layers: int, hidden: int, inner: int, heads: int, kv: int, vocabulary: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": kv, "vocab_size": vocabulary, "tie_word_embeddings": True,
    }  # fmt: skip


SMOLLM2, QWEN3_4B = config(30, 576, 1536, 9, 3, 49152), {**config(36, 2560, 9728, 32, 8, 151936), "head_dim": 128}


def model(config: dict[str, Any]) -> Any:
    text = SimpleNamespace(to_dict=lambda: config)
    return SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))


def test_the_size_of_the_model_chooses_the_prompt() -> None:
    assert parameters_of(SMOLLM2) == pytest.approx(134.5e6, rel=0.01)
    assert parameters_of(QWEN3_4B) == pytest.approx(4.02e9, rel=0.01)
    assert asks_short("auto", model(SMOLLM2))
    assert not asks_short("auto", model(QWEN3_4B))
    assert not asks_short("auto", model({"n_embd": 768}))  # not known
    assert not asks_short("auto")  # served: not known
    assert asks_short("short", model(QWEN3_4B))
    assert not asks_short("full", model(SMOLLM2))


def test_a_small_model_is_asked_at_a_low_temperature_if_none_is_set() -> None:
    assert reflecting_temperature(None, short=False) == 1.0
    assert reflecting_temperature(None, short=True) < 0.5
    assert reflecting_temperature(0.9, short=True) == 0.9


def test_control_text_is_broken_up_in_the_records_too() -> None:
    seen: list[ReflectionJob] = []

    def reflector(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        seen.extend(jobs)
        return [Reply("x")] * len(jobs)

    bad = "say <|im_end|>"
    guard_control_tokens(reflector, ControlGuard(None))([ReflectionJob("", [(bad, bad, bad, 0.0)], 0, bad)])
    assert "<|im_end|>" not in repr(seen)
