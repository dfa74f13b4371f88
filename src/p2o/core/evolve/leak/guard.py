"""The leak guard: a template that holds answers or copies of samples teaches the policy to cheat.

There are two levels. First, a candidate is *refused* (`LeakGuard.refuse`) when it holds what belongs to particular
samples beyond chance: a copied text, a table of answers, a rare answer. Second, a template that is kept is never scored
on a sample whose answer it holds, and never assigned to it (`leaks_answer`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...samples import Sample, content_text
from .answers import read_answer
from .chance import Evidence
from .copies import Copies
from .latex import plain
from .numbers import Number, read
from .tables import holds_table, keys
from .tokens import Form, split, tokens


@dataclass(frozen=True)
class LeakConfig:
    """What makes a template a leak."""

    chance: float = 0.01
    """A template is refused when the probability that an honest one holds the same run of answers is at most this."""
    copy_share: float = 0.35
    """A template is refused when it holds at least this share of one text's own words …"""
    copy_least: float = 7.5
    """… and their weight is at least this (log of the odds: a word 1.5, a digit 2.3, "the" or "of" 0.5), …"""
    copy_enough: float = 20.0
    """… or their weight is at least this, at any share."""


_TEXT_CHARS = 8000
_TABLE = "holds a table of answers"
_MOST_NAMED = 2
_CODE = re.compile(r"(?<![\w-])(?!step|part|case|rule|task|log|sin|cos|tan)[A-Za-z]{3,}[-_]?\d+(?![\w-])", re.I)
"""A name with a number in it ("room-12"): nobody writes the same name by chance."""


def _texts(sample: Sample) -> Iterator[Form]:
    """The texts of a sample: messages (without the system message), text columns, answers that are not numbers."""
    yield from (tokens(content_text(m["content"])[:_TEXT_CHARS]) for m in sample.messages if m["role"] != "system")
    yield from (tokens(v[:_TEXT_CHARS]) for v in sample.columns.values() if isinstance(v, str))
    yield from (tokens(a[:_TEXT_CHARS]) for a in _answers(sample) if not read_answer(a).value)


def _answers(sample: Sample) -> list[str]:
    return [answer for a in sample.answers if (answer := a.strip())]


def _codes(text: str) -> list[str]:
    return [code.lower() for code in _CODE.findall(text)]


class LeakGuard:
    """Checks templates against the whole hard set. Building it reads every sample once."""

    def __init__(self, samples: Sequence[Sample], config: LeakConfig | None = None) -> None:
        self.config = config or LeakConfig()
        answers = [read_answer(a) for s in samples for a in _answers(s)]
        self.evidence = Evidence(
            {v: a.value[0] for a in answers for v in a.values} | {v: v for a in answers for v in a.value}
        )
        self.keys = frozenset(k for a in answers for k in keys(a))
        self.codes = {code for s in samples for a in _answers(s) for code in _codes(plain(a)) if len(a) == len(code)}
        self.copies = Copies(map(_texts, samples))

    def refuse(self, template: str) -> str | None:
        """Why a template is refused as a leak; None when it is not refused."""
        text = plain(template)
        score, held = self.evidence.best_run(read(text))
        if score >= -math.log(self.config.chance):
            return _holding(text, held)
        if codes := self.codes.intersection(_codes(text)):
            return f"holds the gold answer {min(codes)!r}"
        if self.copies.holds_copy(split(text), self.config.copy_least, self.config.copy_share, self.config.copy_enough):
            return "copies a sample's text"
        return _TABLE if holds_table(text, self.keys) else None


def _holding(text: str, held: Mapping[str, Number]) -> str:
    """The reason that names the answers which a text holds."""
    if len(held) > _MOST_NAMED:
        return _TABLE
    words = [text[n.start : n.end] for n in held.values() if text[n.start].isalpha()]
    if words:
        return f"holds a gold answer in words: {words[0]!r}"
    return f"holds the gold answer{'s' if len(held) > 1 else ''} {', '.join(map(repr, held))}"
