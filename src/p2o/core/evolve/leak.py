"""The leak guard: a template that holds answers or copies of samples teaches the policy to cheat.

There are two levels. First, a candidate is *refused* (`LeakGuard.refuse`) when it holds text of particular samples:
a long gold answer, an answer spelled out, a copied text, a table of answers. Second, a template that is kept is
never scored on a sample whose answer it holds, and never assigned to it (`leaks_answer`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..samples import Sample, content_text
from .number_words import spellings


@dataclass(frozen=True)
class LeakConfig:
    """What makes a template a leak."""

    answer_chars: int = 3
    """A template that holds a gold answer longer than this (letters, digits and operators) is refused. One with a
    shorter answer is only kept away from the samples with that answer."""
    ngram: int = 8
    """Length, in tokens, of the n-grams by which copies of a sample's texts are found."""
    copy_share: float = 0.5
    """A template is refused when it holds at least this share of one text's own n-grams …"""
    copy_ngrams: int = 5
    """… or at least this number of them (5 of length 8 are 12 tokens in a row)."""
    table_answers: int = 3
    """A template is refused when it holds at least this number of different answers of two or more characters."""


_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2 "),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "*"),
    (re.compile(r"\\div(?![a-z])"), "/"),
    (re.compile(r"\\(?:left|right|text|mathrm|boxed|displaystyle)(?![a-z])"), " "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"[×·∙]"), "*"),
    (re.compile(r"÷"), "/"),
    (re.compile(r"[−–—]"), "-"),
    (re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])"), " "),  # step-by-step is three words
)
_TOKEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=^<>%]")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_ENUMERATOR = re.compile(r"^\s*\(?\d{1,2}[.):]\s|\b(?:step|rule|part|case|phase)\s+\d{1,2}\b", re.M | re.I)
_LETTER_TABLE = re.compile(r"(?:\d+|[Qq]\w*)\s*(?:[:=.)]|[-=]>|→)\s*(?:[A-H](?!\s+[a-z])\b|(?i:yes|no|true|false)\b)")
_COMMON = frozenset(
    ("true", "false", "none", "even", "odd", "zero", "prime", "positive", "negative")
)  # ordinary instructions use these words too; `leaks_answer` still keeps them away from their samples
_SHARED_BY = 3  # an n-gram in this number of samples is the data set's wording, not a copy of one sample
_DENSE = 0.1  # when this share of all numbers of a length are answers, a few of them in a template mean nothing
_LONG_TABLE = 8
_LETTER_ROWS = 4
_SMALLEST_SPELLED = 13  # "one", "two" … are ordinary words
_TEXT_CHARS = 8000


Form = tuple[str, ...]
"""Tokens in a row."""


def _number(token: str) -> str:
    """Canonical: no grouping commas, no needless zeros."""
    whole, _, decimals = token.replace(",", "").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")


def tokens(text: str) -> Form:
    """Lower-case words, canonical numbers and arithmetic signs. Punctuation and LaTeX layout commands are removed."""
    text = unicodedata.normalize("NFKC", text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    found = _TOKEN.findall(text)
    return tuple(_number(t) if t[0].isdigit() else t.casefold() for t in found)


def _words(text: str) -> Form:
    return tuple(t for t in tokens(text) if t not in ("and", "-"))


def _length(form: Form) -> int:
    return sum(map(len, form))


def _contains(text: Sequence[str], part: Sequence[str]) -> bool:
    n = len(part)
    return n > 0 and any(text[i : i + n] == part for i in range(len(text) - n + 1))


def answer_forms(answer: str) -> list[Form]:
    """The token sequences of an answer: the whole answer, and its final part (#### or boxed)."""
    parts = [answer, *_BOXED.findall(answer)[-1:]]
    if "####" in answer:
        parts.append(answer.rsplit("####", 1)[1])
    return [form for form in dict.fromkeys(map(tokens, parts)) if form]


def _spelled(form: Form) -> list[Form]:
    """The spelled-out forms of an answer that is one number (a sign before it does not matter)."""
    number = form[-1]
    if len(form) > 2 or (len(form) == 2 and form[0] not in "+-") or not number[0].isdigit():
        return []
    return spellings(number) if "." in number or int(number) >= _SMALLEST_SPELLED else []


@lru_cache(maxsize=65536)
def _answer(answer: str) -> tuple[list[Form], list[Form]]:
    """An answer's forms, and its spelled-out forms."""
    forms = answer_forms(answer)
    return forms, [s for form in forms for s in _spelled(form)]


@lru_cache(maxsize=1024)
def _template(template: str) -> tuple[Form, Form, frozenset[str]]:
    """A template's tokens, its words for spelled numbers, and all of them as a set."""
    text, words = tokens(template), _words(template)
    return text, words, frozenset(text)


def leaks_answer(template: str, sample: Sample) -> bool:
    """Whether a template holds the sample's gold answer (of any length) as separate tokens.

    "12" is in "use 12." and in "= 12/5", not in "120"; numbers from 13 on are also found when they are
    spelled out. A one-letter answer must have the same case; the words "A" and "I" before another word do not count.
    """
    answer = (sample.answer or "").strip()
    if not answer or not template:
        return False
    if len(answer) == 1 and answer.isalpha():
        article = r"(?!\s+[^\W\d_])" if answer in "AaI" else ""
        return re.search(rf"(?<![\w']){re.escape(answer)}(?![\w']){article}", template) is not None
    forms, spelled = _answer(answer)
    if not forms:  # signs only
        return answer in template.split()
    text, words, known = _template(template)
    return any(f[0] in known and _contains(text, f) for f in forms) or any(
        s[0] in known and _contains(words, s) for s in spelled
    )


def _texts(sample: Sample) -> Iterable[str]:
    """All texts of a sample: its messages (without the system message), its answer and its text columns."""
    yield from (content_text(m["content"]) for m in sample.messages if m["role"] != "system")
    yield from sample.answers
    yield from (v for v in sample.columns.values() if isinstance(v, str))


def _telling(text: Form) -> bool:
    """Whether a text shorter than an n-gram says enough to be recognised as a copy."""
    return len(text) >= 5 or (len(text) >= 3 and any(t[0].isdigit() for t in text))


class LeakGuard:
    """Judges templates against the whole hard set. Building it reads every sample once."""

    def __init__(self, samples: Sequence[Sample], config: LeakConfig | None = None) -> None:
        self.config = config or LeakConfig()
        self.answers: set[Form] = set()
        self.spelled: set[Form] = set()
        self.grams: dict[int, int] = {}  # hash of an n-gram → the text it belongs to
        self.own: list[int] = []  # how many n-grams belong to each text
        self.short_sizes: set[int] = set()
        for sample in samples:
            for form in answer_forms(sample.answer or ""):
                self.answers.add(form)
                self.spelled.update(s for s in _spelled(form) if len(s) > 1 and s[1:] != ("hundred",))
        self.sizes = [{len(form) for form in forms} for forms in (self.answers, self.spelled)]
        self._index(samples)
        digits = Counter(len(a[0]) for a in self.answers if len(a) == 1 and a[0].isdecimal())
        self.dense = {n for n, k in digits.items() if k > _DENSE * 9 * 10 ** (n - 1)}

    def _index(self, samples: Sequence[Sample]) -> None:
        """n-gram → the texts that hold it, without those that several samples share.

        What is left of a text between shared passages ("What is 17 + 25?" before the data set's usual
        words on the answer's form) counts as a text of its own when it is shorter than an n-gram.
        """
        texts = [[tokens(t[:_TEXT_CHARS]) for t in _texts(s)] for s in samples]
        seen = Counter(g for mine in texts for g in {g for t in mine for g in self._grams(t)})
        shared = {g for g, k in seen.items() if k >= _SHARED_BY}
        for text in (t for mine in texts for t in mine):
            self._add_text(self._grams(text), shared)
            for run in self._own_runs(text, shared) if shared else ():
                if run != text and _telling(run):
                    self._add_text([hash(run)], shared)
                    self.short_sizes.add(len(run))
            if len(text) < self.config.ngram:
                self.short_sizes.add(len(text))

    def _add_text(self, grams: Sequence[int], shared: set[int]) -> None:
        """A gram belongs to the first text that has it."""
        own = [g for g in dict.fromkeys(grams) if g not in shared and g not in self.grams]
        self.grams.update(dict.fromkeys(own, len(self.own)))
        self.own.append(len(own))

    def _grams(self, text: Form) -> list[int]:
        """Hashes of the n-grams (of the whole text when it is shorter, and telling)."""
        n = self.config.ngram
        if len(text) >= n:
            return [hash(text[i : i + n]) for i in range(len(text) - n + 1)]
        return [hash(text)] if _telling(text) else []

    def _own_runs(self, text: Form, shared: set[int]) -> list[Form]:
        """Stretches shorter than an n-gram that no shared n-gram covers."""
        n = self.config.ngram
        covered = [False] * len(text)
        for i in range(len(text) - n + 1):
            if hash(text[i : i + n]) in shared:
                covered[i : i + n] = [True] * n
        runs, start = [], 0
        for i in range(len(text) + 1):
            if i == len(text) or covered[i]:
                if 0 < i - start < n:
                    runs.append(text[start:i])
                start = i + 1
        return runs

    def refuse(self, template: str) -> str | None:
        """Why a template is refused as a leak; None when it is not refused."""
        text = tokens(template)
        held = self._held(text, self.answers)
        long = [a for a in held if self._refuses(a)]
        if long:
            return f"holds the gold answer {' '.join(max((_length(a), a) for a in long)[1])!r}"
        spelled = self._held(_words(template), self.spelled)
        if spelled:
            return f"holds a gold answer in words: {' '.join(min(spelled))!r}"
        if self._copies(text):
            return "copies a sample's text"
        if self._table(template):
            return "holds a table of answers"
        return None

    def _held(self, text: Form, wanted: set[Form]) -> set[Form]:
        sizes = self.sizes[wanted is self.spelled]
        return {p for n in sizes for i in range(len(text) - n + 1) if (p := text[i : i + n]) in wanted}

    def _refuses(self, answer: Form) -> bool:
        return _length(answer) > self.config.answer_chars and not (len(answer) == 1 and answer[0] in _COMMON)

    def _copies(self, text: Form) -> bool:
        sizes = {self.config.ngram, *self.short_sizes}
        grams = {hash(text[i : i + n]) for n in sizes for i in range(len(text) - n + 1)}
        hits = Counter(self.grams[g] for g in grams if g in self.grams)
        enough, share = self.config.copy_ngrams, self.config.copy_share
        return any(k >= enough or k >= share * self.own[t] for t, k in hits.items())

    def _table(self, template: str) -> bool:
        """Whether it holds several answers, each too short to be a leak alone. Numbered steps are not counted."""
        held = self._held(tokens(_ENUMERATOR.sub(" ", template)), self.answers)
        numbers = {a for a in held if any(t[0].isdigit() for t in a)}
        telling = [a for a in numbers if _length(a) > 1 and len(a[0]) not in self.dense]
        if len(telling) >= self.config.table_answers or len(numbers) >= _LONG_TABLE:
            return True
        return len(_LETTER_TABLE.findall(template)) >= _LETTER_ROWS
