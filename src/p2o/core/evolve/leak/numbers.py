"""Numbers in plain text, read as exact fractions: "1,234", "4 217", "0.5", "1/2", "50 %", "2 1/3", "1.2 * 10^3", words.

A value is kept as text, "1234" or "1/2" (`str(Fraction)`): equal numbers are equal texts, and cheap to look up.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from .spelled import RUN, SCALES, read_run

LITERAL = r"(?:[1-9]\d*(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:[_']\d{3})+(?!\d)|\d+(?:\.\d+)?|(?<![\w.])\.\d+)"
"""A number in digits, with or without signs between its thousands."""
_LITERAL = re.compile(LITERAL)
_NUMBER = re.compile(
    rf"(?<![/\d])(?<!/ )(?P<first>{LITERAL})"
    rf"(?:\s*/\s*(?P<below>{LITERAL})|\s+(?P<part>\d+)\s*/\s*(?P<whole>\d+))?+(?!\d|\s*/\s*\d)"
    rf"(?P<power>\s*\*\s*10\s*\^\s*\(?\s*-?\d{{1,2}}\)?|e[+-]?\d{{1,2}}(?!\w))?"
    rf"(?:\s*-?(?P<scale>{'|'.join(SCALES)})\b)?"
    rf"(?P<percent>\s*(?:%|per\s?cent\b))?"
    rf"|(?P<alone>{LITERAL})",
    re.I,
)
_CHAIN = re.compile(r"(?<!\d)\d+(?:([ _.'·])\d+)(?:\1\d+)*(?!\d)")
_LOOSE_CHAIN = re.compile(r"(?<!\d)\d([^\w+=<>^%()\[\]]{1,3})\d(?:\1\d)+(?!\d)")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])\d+(?:\.\d{3})*,\d+(?!\d|[.,]\d)")
_MINUS = re.compile(r"(?:-|\b(?:minus|negative)\b)\s*\(?\s*", re.I)
_NAME = re.compile(r"[^\W\d]\d")
_MOST_DIGITS = 15  # of a number that is put together from parts
_PLACES = range(2, 18)  # decimals to which a fraction is rounded or cut


class Number(NamedTuple):
    """One number of a text."""

    start: int
    end: int
    values: tuple[str, ...]
    """What it may stand for, the plainest first: "50 %" is 1/2 or 50."""
    parts: tuple[Number, ...] = ()
    """What it is when it is not one number: 42 and 17 for "42 17"."""


@lru_cache(maxsize=4096)
def _literal(text: str) -> Fraction:
    return Fraction(re.sub(r"[,_']", "", text))


def _readings(m: re.Match[str]) -> tuple[str, ...]:
    """The values of a match of `_NUMBER`."""
    if m[0].isdecimal():
        return (str(int(m[0])),)
    value = _literal(m["first"] or m["alone"])
    if m["below"] and _literal(m["below"]):
        value /= _literal(m["below"])
    if m["part"] and int(m["whole"]):
        value += Fraction(int(m["part"]), int(m["whole"]))
    if m["power"]:
        value *= Fraction(10) ** int(re.sub(r"(?s)^e|.*\^|[ ()\t\n]", "", m["power"].lower()))
    if m["scale"]:
        value *= SCALES[m["scale"].lower()]
    return (str(value / 100), str(value)) if m["percent"] else (str(value),)


def _joined(chain: re.Match[str]) -> tuple[str, ...]:
    """A chain of digits as one number; with one dot between, first as a decimal."""
    groups = chain[0].split(chain[1])
    digits = "".join(groups)
    whole = (str(int(digits)),) if len(digits) <= _MOST_DIGITS else ()
    return (str(Fraction(chain[0])), *whole) if chain[1] == "." and len(groups) == 2 else whole


def _plain_numbers(text: str) -> list[Number]:
    return [Number(m.start(), m.end(), _readings(m)) for m in _NUMBER.finditer(text)]


def read(text: str) -> list[Number]:
    """The numbers of a plain text in their order, each place once; digits with signs between as one number.

    Digits behind a letter ("x2", "Q17") are names and left out.
    """
    numbers = [*_plain_numbers(text), *(Number(*m.span(), _spelled(m)) for m in RUN.finditer(text))]
    numbers = sorted(n for n in numbers if n.values)
    chains = [(*m.span(), _joined(m)) for m in _CHAIN.finditer(text)]
    chains += [(*m.span(), (_european(m[0]),)) for m in _DECIMAL_COMMA.finditer(text)]
    starts = [n.start for n in numbers]
    out = dict(zip(starts, numbers, strict=True))
    for start, end, values in chains:
        inside = numbers[bisect_left(starts, start) : bisect_left(starts, end)]
        if inside and inside[0].end >= end:
            out[inside[0].start] = inside[0]._replace(values=tuple(dict.fromkeys((*inside[0].values, *values))))
        elif values:
            for n in inside:
                out.pop(n.start, None)
            out[start] = Number(start, end, values, tuple(inside))
    return [n for n in sorted(out.values()) if not _NAME.match(text, max(0, n.start - 1))]


def _spelled(run: re.Match[str]) -> tuple[str, ...]:
    """What number words are when they are one number; of percents both readings."""
    return tuple(map(str, read_run(run)[:1] + (read_run(run)[-1:] if run[2] else [])))


def _european(text: str) -> str:
    """The value of "1.234,5" or "0,5"."""
    return str(Fraction(text.replace(".", "").replace(",", ".")))


def near(value: str) -> Iterator[str]:
    """The decimals by which a fraction without an end is given: 1/3 as 0.33, 0.333 …; both rounded and cut."""
    fraction = Fraction(value)
    if 10**4 % fraction.denominator == 0:
        return
    sign, n, d = (-1 if fraction < 0 else 1), abs(fraction.numerator), fraction.denominator
    for places in _PLACES:
        cut = n * 10**places // d
        if cut >= 10:
            rounded = (2 * n * 10**places + d) // (2 * d)
            yield from (str(Fraction(sign * m, 10**places)) for m in {cut, rounded})


def _pieces(groups: list[str]) -> Iterator[str]:
    """The numbers that neighbouring groups of digits make."""
    for i in range(len(groups)):
        digits = groups[i]
        for group in groups[i + 1 :]:
            digits += group
            if len(digits) > _MOST_DIGITS:
                break
            yield str(int(digits))


def _findings(text: str) -> Iterator[tuple[int, Iterable[str]]]:
    """(where, values) of every reading of every number."""
    for m in _LITERAL.finditer(text):
        yield m.start(), (str(_literal(m[0])),)
    for n in _plain_numbers(text):
        yield n.start, n.values
    for m in _DECIMAL_COMMA.finditer(text):
        yield m.start(), (_european(m[0]),)
    for m in _CHAIN.finditer(text):
        groups = m[0].split(m[1])
        two_with_a_dot = m[1] == "." and len(groups) == 2
        yield m.start(), (*_joined(m), *(() if two_with_a_dot else _pieces(groups)))
    for m in _LOOSE_CHAIN.finditer(text):
        yield m.start(), (str(int("".join(m[0].split(m[1])[:_MOST_DIGITS]))),)
    for m in RUN.finditer(text):
        yield m.start(), map(str, read_run(m))


def held(text: str) -> frozenset[str]:
    """Every value that any reading finds in a plain text, so that no form of a number hides it."""
    values: set[str] = set()
    after_minus = {m.end() for m in _MINUS.finditer(text)}
    for start, found in _findings(text):
        for value in found:
            values.add(value)
            if start in after_minus:
                values.add(f"-{value}")
    values.update([d for v in values if "/" in v for d in near(v)])
    return frozenset(values)
