"""Reflection in few words, for policies too small to follow the long prompt (*self* and *policy*).

A model of some hundred million parameters does not follow a page of directions, but it continues a conversation in the
way in which it began. So it sees two exchanges in which a judgement was turned into an instruction, then one failed
rollout, its judgement and the parent. Where its reply cannot be used it is asked once more, for less: to write the
judgement as an instruction.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from ..base.text import shorten
from ..core.evolve import ReflectionJob, Reflector, Reply
from ..core.evolve.prompt import Record
from ..core.samples import Message
from .retry import Ask, ask_until_usable

Conversation = list[Message]

_ANSWER_CHARS, _OTHER_CHARS = 200, 600
_REWARD = re.compile(r"\s*\bReward: \S+\s*$")
"""What a built-in reward writes behind its judgement; a number is nothing to learn an instruction from."""

_TASK = "Question: {question}\nAnswer: {answer}\nJudgement: {judgement}"
_NOW = "Instruction: {template}\n"
_PARTNER = "Another good instruction: {partner}\n"
_WRITE = "\n\nWrite a better instruction for such questions."
_TURN = "Turn this judgement into an instruction: {judgement}"

EXAMPLES: Sequence[tuple[str, Record, str]] = (
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
"""(instruction in use, rollout, better instruction): how it is done. None of it may come back as a reply."""


def short_reflector(ask: Callable[[Sequence[Conversation]], list[Reply]]) -> Reflector:
    """A reflector that asks a small chat model.

    Args:
        ask: a reply to each conversation.
    """
    known = [better for _, _, better in EXAMPLES]

    def asking(way: Callable[[ReflectionJob], Conversation]) -> Ask:
        return lambda jobs: ask([way(job) for job in jobs])

    return lambda jobs: ask_until_usable(jobs, [asking(to_improve), asking(to_rewrite)], known)


def to_improve(job: ReflectionJob) -> Conversation:
    """The first demand: one failed rollout of the parent, drawn by the job's seed, and the parent."""
    asked = _asked(job.template, _one_failure(job), job.partner)
    turns = [(_asked(template, record) + _WRITE, better) for template, record, better in EXAMPLES]
    return _conversation(turns, asked + _WRITE)


def to_rewrite(job: ReflectionJob) -> Conversation:
    """The simpler demand: a judgement alone, to be written as an instruction."""
    turns = [(_TURN.format(judgement=record[2]), better) for _, record, better in EXAMPLES]
    return _conversation(turns, _TURN.format(judgement=_one_failure(job)[2]))


def _one_failure(job: ReflectionJob) -> Record:
    """One of the records with the lowest reward."""
    worst = min(reward for *_, reward in job.records)
    question, answer, judgement, _ = random.Random(job.seed).choice([r for r in job.records if r[3] == worst])
    return _short(question), shorten(answer, _ANSWER_CHARS), _short(_REWARD.sub("", judgement)), worst


def _asked(template: str, record: Record, partner: str = "") -> str:
    question, answer, judgement, _ = record
    now = _NOW.format(template=_short(template)) if template else ""
    other = _PARTNER.format(partner=_short(partner)) if partner else ""
    return now + other + _TASK.format(question=question, answer=answer, judgement=judgement)


def _short(text: str) -> str:
    return shorten(text, _OTHER_CHARS)


def _conversation(turns: Sequence[tuple[str, str]], last: str) -> Conversation:
    said: Conversation = []
    for user, assistant in turns:
        said += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*said, {"role": "user", "content": last}]
