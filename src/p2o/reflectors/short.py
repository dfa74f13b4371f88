"""Reflection in few words, for policies too small to follow the long prompt (*self* and *policy*).

A model of some hundred million parameters does not follow a page of directions, but it continues a conversation in the
way in which it began. So it sees worked examples, then one failed rollout of the parent. One of two things is asked of
it:

- *an instruction*, from the parent, the question, the answer and the judgement;
- *advice*: one sentence, from the question and the answer. The form of the answer, as far as the judgement states one,
  is quoted beside it, since a small model cannot copy it without mistakes.

The job's seed chooses between the two. Where the reply cannot be used, the advice is asked for, which is less.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..base.markdown import fenced
from ..base.text import shorten
from ..core.evolve import ReflectionJob, Reflector, Reply
from ..core.evolve.prompt import Record
from ..core.evolve.reading import read_reply
from ..core.samples import Message
from .phrases import format_reminders
from .retry import ask_until_usable

Conversation = list[Message]

_ANSWER_CHARS, _OTHER_CHARS, _ADVICE_CHARS = 200, 600, 200
_REWARD = re.compile(r"\s*\bReward: \S+\s*$")
"""What a built-in reward writes behind its judgement; a number is nothing to learn an instruction from."""

_TASK = "Question: {question}\nAnswer: {answer}\n"
_JUDGEMENT = "Judgement: {judgement}\n"
_NOW = "Instruction: {template}\n"
_PARTNER = "Another good instruction: {partner}\n"
_WRITE = "\nWrite a better instruction for such questions."
_ADVISE = "\nHow should such questions be answered? Give advice in one sentence."

INSTRUCTIONS: Sequence[tuple[str, Record, str]] = (
    (
        "",
        (
            "Name a fruit.",
            "I like apples very much.",
            "Wrong format: answer with one word, as in these examples:\nName a bird.\nOwl\nName a metal.\nIron",
            0.0,
        ),
        "Answer with one word, as in these examples:\nName a bird.\nOwl\nName a metal.\nIron",
    ),
    (
        "Be polite.",
        (
            "Is a whale a fish?",
            "Yes, it lives in the sea.",
            "Wrong. Give the reason first, then Verdict: yes or no.",
            0.0,
        ),
        "Give the reason first. Then write Verdict: yes or Verdict: no.",
    ),
)
"""(instruction in use, rollout, better instruction)."""

ADVICE = (
    ("Name a fruit.", "I like apples very much.", "Name one thing of that kind and nothing else."),
    ("Is a whale a fish?", "Yes, it lives in the sea.", "Think of what the animal is before you say yes or no."),
    ("Which day comes after Monday?", "There are seven days in a week.", "Go through the days in their order."),
)
"""(question, answer, advice)."""

EXAMPLES = (*(better for *_, better in INSTRUCTIONS), *(advice for *_, advice in ADVICE))
"""What the model is shown as replies; none of them may come back as one."""


def short_reflector(ask: Callable[[Sequence[Conversation]], list[Reply]]) -> Reflector:
    """A reflector that asks a small chat model.

    Args:
        ask: a reply to each conversation.
    """

    def first(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        whole = [random.Random(job.seed).random() < 0.5 for job in jobs]
        replies = ask([for_instruction(job) if w else for_advice(job) for w, job in zip(whole, jobs, strict=True)])
        return [r if w else with_form(r, job) for w, r, job in zip(whole, replies, jobs, strict=True)]

    def second(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [with_form(r, job) for r, job in zip(ask([for_advice(job) for job in jobs]), jobs, strict=True)]

    return lambda jobs: ask_until_usable(jobs, [first, second], EXAMPLES)


def for_instruction(job: ReflectionJob) -> Conversation:
    """The question for a whole instruction."""
    question, answer, judgement, _ = _one_failure(job)
    asked = _asked(job.template, question, answer, judgement, job.partner)
    turns = [(_asked(now, q, a, j) + _WRITE, better) for now, (q, a, j, _), better in INSTRUCTIONS]
    return _conversation(turns, asked + _WRITE)


def for_advice(job: ReflectionJob) -> Conversation:
    """The question for one sentence of advice."""
    question, answer, _, _ = _one_failure(job)
    turns = [(_TASK.format(question=q, answer=a) + _ADVISE, advice) for q, a, advice in ADVICE]
    return _conversation(turns, _TASK.format(question=question, answer=answer) + _ADVISE)


def with_form(reply: Reply, job: ReflectionJob) -> Reply:
    """A reply with the first line of the advice in it, and the form that the judgement states. The job's seed says
    which comes first: for a small model that can decide over success."""
    template, fate, _ = read_reply(reply.text or "", _OTHER_CHARS)
    if fate or reply.text is None:
        return reply
    advice = shorten(template.splitlines()[0], _ADVICE_CHARS)
    parts = [advice, *format_reminders(_one_failure(job)[2])]
    return replace(reply, text=fenced("\n".join(parts if job.seed % 2 else reversed(parts))))


def _one_failure(job: ReflectionJob) -> Record:
    """One of the records with the lowest reward, shortened."""
    worst = min(reward for *_, reward in job.records)
    question, answer, judgement, _ = random.Random(job.seed).choice([r for r in job.records if r[3] == worst])
    return _short(question), shorten(answer, _ANSWER_CHARS), _short(_REWARD.sub("", judgement)), worst


def _asked(template: str, question: str, answer: str, judgement: str, partner: str = "") -> str:
    now = _NOW.format(template=_short(template)) if template else ""
    other = _PARTNER.format(partner=_short(partner)) if partner else ""
    return now + other + _TASK.format(question=question, answer=answer) + _JUDGEMENT.format(judgement=judgement)


def _short(text: str) -> str:
    return shorten(text, _OTHER_CHARS)


def _conversation(turns: Sequence[tuple[str, str]], last: str) -> Conversation:
    said: Conversation = []
    for user, assistant in turns:
        said += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*said, {"role": "user", "content": last}]
