"""Reads gold answers in all their forms, and finds them in templates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from ...samples import Sample
from .latex import plain
from .numbers import held, near, read
from .tokens import split


class Answer(NamedTuple):
    """A gold answer, read."""

    value: tuple[str, ...]
    """The number it is, as `numbers` writes it; "50 %" is 1/2 or 50."""
    values: frozenset[str]
    """The same with the decimals by which a fraction is given (1/3: 0.33, 0.333 …)."""
    forms: frozenset[str]
    """The tokens of what is no number, with blanks around each: all of it, its final part (#### or boxed)."""
    letters: frozenset[str]
    """The single letter that it is, or begins with ("(B) 12")."""


class Template(NamedTuple):
    """A template, read."""

    text: str
    """In plain characters, without the lists that name every choice."""
    values: frozenset[str]
    """Every number in it, in any reading."""
    tokens: str
    """Its tokens with blanks around each."""


_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_LETTER = re.compile(r"[\W_]*([^\W\d_])[\W_]*")
_BESIDE_A_NUMBER = re.compile(
    r"(?:[\s°.,:;?()\[\]'\"=+-]|(?:[a-z]{2,}+|(?<=\s)[mgslhNJWVKC]\b|\b[a-z](?=\s*=))(?:\s*\)?\^\(?-?\d\)?)?)*+", re.I
)
_WORD = re.compile(r"[a-z]+", re.I)
_FORMULA_WORDS = """
pi sqrt root infty infinity sin cos tan cot sec csc log ln exp mod pm cup cap in or and to if for theta lambda mu phi le
ge ne lt gt not plus times over per all no of the
"""
_NOT_UNITS = frozenset(_FORMULA_WORDS.split())
_MOST_WORDS = 4  # beside a number that is the answer
_MOST_NUMBER_WORDS = 12
_MOST_DIGITS = 40
_MINUS = re.compile(r"(?:-|\b(?:minus|negative)\b)\s*\(?\s*$", re.I)
_PUT_TOGETHER = re.compile(r"\d{1,3}(?: \d{3})+|\d{1,3}(?:\.\d{3}){2,}|\d[\d.]*,\d+")
_OPTION = re.compile(r"\s*\(?([A-H])[).:]\s+\S")  # "(B) 12"
_LETTERS = re.compile(
    r"(?<!\w)\(?[A-Z]\)?(?:(?:\s*[,/;|]\s*|\s+)(?:(?:or|and)\s+)?\(?[A-Z]\)?(?!\w)){2,}"
    r"|(?<!\w)\(?A\)?\s?(?:-|to)\s?\(?[C-Z]\b\)?"
)
_BOTH = re.compile(
    r"\b(?:(yes)|(no)|(true)|false)\W{0,2}(?:\s*[/,]\s*|\s+or\s+)\W?(?(1)no|(?(2)yes|(?(3)false|true)))\b", re.I
)
_AFTER_ARTICLE = r"(?!\s+(?!(?:in|is|as|or|and|for|to|on|at|if|by|was|with|from|inside|because|since)\b)[^\W\d_])"
_SPACED_WORD = re.compile(r"(?<![^\W_])[^\W\d_](?:[\s._*-]{1,3}[^\W\d_](?![^\W_])){2,}")


def whole(text: str) -> tuple[str, ...]:
    """The values of a plain text that is one number, perhaps with its sign, unit or name ("x = 5 cm"); else ()."""
    words = _WORD.findall(text)
    first = next(iter(read(text)), None) if len(words) <= _MOST_WORDS + _MOST_NUMBER_WORDS else None
    if first is None:
        return ()
    before, digits, after = text[: first.start], text[first.start : first.end], text[first.end :]
    names = {w.lower() for w in _WORD.findall(f"{before} {after}")} - {"minus", "negative"}
    if len(names) > _MOST_WORDS or names & _NOT_UNITS or not _BESIDE_A_NUMBER.fullmatch(f"{before} \n {after}"):
        return ()
    if "=" in after or (first.parts and not _PUT_TOGETHER.fullmatch(digits)) or ("," in digits and "(" in before):
        return ()
    sign = "-" if _MINUS.search(before) else ""
    return tuple(sign + v for v in _plainest(first.values, digits))


def _plainest(values: tuple[str, ...], digits: str) -> tuple[str, ...]:
    """The values of a number that is meant to be read, not hidden."""
    if digits[-1] == "%" or digits.lower().endswith("cent"):
        return values[:2]
    return values[:1]


def form(tokens: Iterable[str]) -> str:
    """Tokens as one text with blanks around each, so that a part of them can be looked for; "" for none."""
    return f" {text} " if (text := " ".join(tokens)) else ""


def single_letter(text: str) -> str:
    """The letter of a plain text that holds one letter and signs ("(B)"); else ""."""
    found = _LETTER.fullmatch(text)
    return found[1] if found else ""


def read_answer(answer: str) -> Answer:
    """An answer's number, tokens or letter: of all of it, and of its final part."""
    if answer.isascii() and answer.isdecimal() and len(answer) <= _MOST_DIGITS:  # most are, so it must be fast
        value = str(int(answer))
        return Answer((value,), frozenset((value,)), frozenset(), frozenset())
    return _read_answer(answer)


@lru_cache(maxsize=65536)
def _read_answer(answer: str) -> Answer:
    parts = [answer, *_BOXED.findall(answer)[-1:], *answer.split("####")[1:][-1:]]
    value: dict[str, None] = {}
    forms: set[str] = set()
    letters: set[str] = set()
    for part in map(plain, parts):
        if option := _OPTION.match(part):
            letters.add(option[1])
        if letter := single_letter(part):
            letters.add(letter)
        elif values := whole(part):
            value.update(dict.fromkeys(values))
        else:
            forms.add(form(split(part)))
    decimals = (d for v in value if "/" in v for d in near(v))
    return Answer(tuple(value), frozenset((*value, *decimals)), frozenset(forms - {""}), frozenset(letters))


def _without_choices(text: str) -> str:
    """Without "A, B, C or D", "A to D", "yes or no": a list of every choice gives no answer away."""

    def strip(m: re.Match[str]) -> str:
        letters = re.findall(r"\b[A-Z]\b", m[0])
        in_order = all(ord(c) - ord("A") == i for i, c in enumerate(letters))
        return " " if in_order or len(letters) == 2 else m[0]

    return _BOTH.sub(" ", _LETTERS.sub(strip, text))


@lru_cache(maxsize=1024)
def read_template(template: str) -> Template:
    """A template's numbers and tokens, words with blanks between their letters among them."""
    text = _without_choices(plain(template))
    spaced = [re.sub(r"[\W_]", "", m[0]).lower() for m in _SPACED_WORD.finditer(text)]
    return Template(text, held(text), form((*split(text), *spaced)))


def leaks_answer(template: str, sample: Sample) -> bool:
    """Whether a template holds a gold answer of the sample (of any length) as a number or as separate tokens.

    Numbers are found in every usual form: "4 217", "4_2_1_7", "50 %" for 1/2, "\\frac12" for 0.5, and in words from
    13 on. "12" is in "use 12." and in "= 12/5", not in "120". A one-letter answer must have the same case. The words
    "A" and "I" before another word do not count, nor does a list of all choices ("A, B, C or D", "yes or no").
    """
    return bool(template) and any(_gives_away(template, gold) for a in sample.answers if (gold := a.strip()))


class HeldAnswers:
    """`leaks_answer` of some templates for many samples: a number is looked up once, and not in each template.

    Args:
        templates: their texts.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self.templates = frozenset(templates) - {""}
        self._by_value: dict[str, set[str]] = {}
        for template in self.templates:
            for value in read_template(template).values:
                self._by_value.setdefault(value, set()).add(template)

    def leaking(self, sample: Sample) -> set[str]:
        """The templates that hold a gold answer of the sample."""
        return {template for a in sample.answers if (gold := a.strip()) for template in self._holding(gold)}

    def _holding(self, gold: str) -> Iterable[str]:
        answer = read_answer(gold)
        if answer.values and not answer.forms and not answer.letters:
            return (template for value in answer.values for template in self._by_value.get(value, ()))
        return (template for template in self.templates if _gives_away(template, gold))


def _gives_away(template: str, gold: str) -> bool:
    answer, held_by = read_answer(gold), read_template(template)
    if not answer.values.isdisjoint(held_by.values) or any(f in held_by.tokens for f in answer.forms):
        return True
    if any(_holds_letter(held_by.text, letter) for letter in answer.letters):
        return True
    return not (answer.values or answer.forms or answer.letters) and gold in template.split()  # signs only


def _holds_letter(text: str, letter: str) -> bool:
    word = _AFTER_ARTICLE if letter in "Aa" else r"(?!\s+[^\W\d_])" if letter == "I" else ""
    return re.search(rf"(?<![\w']){re.escape(letter)}(?![\w']){word}", text) is not None
