"""How much each token of a text tells: the rarer it is where it stands, the more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Set
from typing import NamedTuple

from .tokens import Form

_DIGIT = math.log(10)
_MOST_DIGITS = 4
_WORD, _SHORT, _FUNCTION = 1.5, 1.0, 0.5
_FILLING = 2.5  # a word that fills in a place: one of about twelve
_OTHER_TEXTS = 20  # that are taken to be seen beside those of a form
_FUNCTION_TEXT = """
a an the of to in on at by for from with as is are was be has have had do does did it its this that these those and or
if then than so not no what which how many much who when where there their they he she his her we us our you your i my
all each one two will can into out up about after before more some any let
"""
_FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())
_FORM, _FEW = 0.25, 4  # the share of a form's texts that hold its own words, and how many of them do, at least
_MOST_NUMBERS = 24  # of a text that are looked at for others that follow from them
_LONGEST = 9  # digits of such a number
_AS_IF = 100  # pairs of equally long numbers that are taken to be seen beside those of a form's texts


class _Weights(dict[str, float]):
    """How much a token tells, in natural logarithms: one over how often it is met."""

    def __missing__(self, token: str) -> float:
        if token.isdecimal():
            weight = digits_tell(token) if len(token) > 1 else _SHORT
        elif token in _FUNCTION_WORDS or not token.isalnum():
            weight = _FUNCTION
        else:
            weight = _SHORT if len(token) == 1 else _WORD
        self[token] = weight
        return weight


def digits_tell(number: str) -> float:
    """How much a number tells whose digits are all as likely."""
    return _DIGIT * min(len(number.rstrip("0")) or 1, _MOST_DIGITS)


WEIGHT = _Weights()

Pair = tuple[str, str, int]
"""Two tokens of a text, and how many places the second one is after the first."""


class Reading(NamedTuple):
    """What the guard knows of one text."""

    tells: dict[str, float]
    """Token → how much it tells here; less when it usually follows the one before it in other samples."""
    alike: float
    """The log of how many texts are worded alike."""
    pairs: Set[Pair]
    """The tokens that follow each other, in slots also with one between them."""
    slots: bool
    """Whether most of its wording is the data set's, and only some places are its own."""


class Wording(NamedTuple):
    """What the texts that fill in one form have in common."""

    words: frozenset[str]
    """Tokens that at least a quarter of them have, and four of them or all but one."""
    fillings: dict[str, float]
    """The others that are words → how much they tell, by the share of the texts that have them."""
    numbers: dict[int, float]
    """Digits of a number → how much it tells that two of the texts have an equal one: 4.5 for even ones of two digits,
    less for sums or prices."""

    def in_its_place(self, token: str) -> float:
        """How much a token tells at least that fills in a place of its own."""
        return min(digits_tell(token), self.numbers.get(len(token), math.inf)) if token.isdecimal() else _FILLING


def wording(texts: Iterable[Form]) -> Wording:
    """The wording of texts that fill in one form."""
    held = [set(text) for text in texts]
    counts = Counter(token for text in held for token in text)
    least = max(_FORM * len(held), min(_FEW, len(held) - 1))
    words = frozenset(token for token, count in counts.items() if count >= least)
    fillings = {token: _share(count, len(held)) for token, count in counts.items() if not token.isdecimal()}
    by_length: dict[int, list[int]] = {}
    for token, count in counts.items():
        if token.isdecimal():
            by_length.setdefault(len(token), []).append(count)
    return Wording(words, fillings, {digits: _equal_numbers(digits, found) for digits, found in by_length.items()})


def _share(count: int, texts: int) -> float:
    """The log of one over the share of the other texts that hold a word."""
    return math.log((texts - 1 + _OTHER_TEXTS) / (count - 1 + _OTHER_TEXTS * math.exp(-_FILLING)))


def _equal_numbers(digits: int, counts: list[int]) -> float:
    """The log of one over the chance that two numbers are equal, from how often each occurs."""
    drawn = sum(counts)
    equal = sum(count * (count - 1) for count in counts) + _AS_IF * 10.0 ** -min(digits, _MOST_DIGITS)
    return math.log((drawn * (drawn - 1) + _AS_IF) / equal)


def derived(text: Form) -> set[int]:
    """The places of numbers that follow from two numbers before them: "97 + 48 = 145" has two of its own. Sums and
    differences of one-digit numbers do not count: they are any number's."""
    known: dict[int, None] = {}
    follow: set[int] = set()
    found: set[int] = set()
    for place, token in enumerate(text):
        n = int(token) if token.isdecimal() and len(token) <= _LONGEST else 0
        if n > 9 and n in follow and n not in known:
            found.add(place)
        if n > 1 and n not in known and len(known) < _MOST_NUMBERS:
            for m in known:
                small, large = sorted((n, m))
                if large > 9:
                    follow |= {n * m, *((large // small,) if large % small == 0 else ())}
                if small > 9:
                    follow |= {n + m, large - small}
            known[n] = None
    return found
