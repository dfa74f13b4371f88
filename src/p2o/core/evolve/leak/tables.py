"""Tables of answers by their form: rows of a task's name and an answer, lists of answers."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from .answers import Answer, form, single_letter
from .chance import ordinary
from .numbers import read
from .spelled import RUN
from .tokens import split

_TASK = r"(?:[A-Za-z]{2,10}[ _]#?|[A-Za-z]{0,10}#?)\d{1,6}"  # "s12", "Task 3", "#4", "5"
_THEN = r"\s*(?:[:=)]|\.(?=\s)|-+>|=>|→)\s*"
_CELL = re.compile(rf"[;\n|]|,\s|\band\b|\bor\b|\s(?={_TASK}\s*(?:[:)]|\.\s|-+>|=>|→))")
_ROW = re.compile(rf"(?:.*:\s+)?\(?(?:{_TASK}{_THEN}|[A-Za-z#_]{{1,10}}\d{{1,6}},)(\S.*)")
_NAMED = re.compile(r"(?:.*:\s+)?(?:\(?[a-z]\)\s+|[A-Za-z][A-Za-z' -]{0,30}?\s*(?::\s|-+>|=>|→|=(?!=))\s*)(\S.*)", re.I)
_LEAD = re.compile(r".*(?::|\b(?:are|is))\s+")
_BLANKS_BETWEEN = re.compile(r"(?:(?:[A-Z]|\d+)\s+)+(?:[A-Z]|\d+)")
_SIGN = re.compile(r"[\s(\[=]*-?\s*(?=.)")
_BEFORE_NUMBER = re.compile(r"[\s(\[=]*(-?)\s*")
_SAYS_ANSWERS = re.compile(r"\b(?:answers?|solutions?|results?|keys?)\b", re.I)
_LAYOUT = (
    (re.compile(r"""["`{}]|\*\*"""), " "),
    (re.compile(r"^ ?\|? ?([^|\n]+)\| ?([^|\n]+)\|? ?$", re.M), r"\1: \2"),  # a row of two columns
    (re.compile(r"^ ?[-*·] ", re.M), ""),
)
_CHOICES = frozenset([*(f"letter {c}" for c in "ABCDEFGH"), " yes ", " no ", " true ", " false "])
"""Answers that gold answers may hold in another form: "(B) 12", "2", "1"."""
_LONGEST = 120  # characters of a cell, from its end
_SHARE = 0.75  # of the rows or items that must be answers
_USUAL = 0.75  # what a small or well-known number counts
_ROWS, _NAMED_ROWS, _ITEMS, _ITEMS_SAID = 3.5, 6.0, 6.0, 4.0
"""How many answers make a table: rows with a task's number, with another name, items, items that are called answers."""


class Item(NamedTuple):
    """What may be one answer in a list."""

    key: str
    is_answer: bool

    @property
    def is_number(self) -> bool:
        """Whether it is a number; else a letter or words."""
        return self.key.lstrip("-")[:1].isdigit()


def keys(answer: Answer) -> set[str]:
    """By what an answer is known among all answers: its values, its tokens, its letter."""
    return {*answer.values, *answer.forms, *(f"letter {c}" for c in answer.letters)}


@lru_cache(maxsize=65536)
def _readings(text: str) -> tuple[str, ...]:
    """What a cell may be as an answer without unit or name: a number in any reading, a letter, words; () for nothing.
    Templates of one evolution share most of their cells."""
    begins = _SIGN.match(text)
    if begins and (text[begins.end()] in ".0123456789" or RUN.match(text, begins.end())) and (numbers := read(text)):
        sign = _BEFORE_NUMBER.fullmatch(text[: numbers[0].start])
        if sign and not re.search(r"\w", text[numbers[0].end :]):
            return tuple(sign[1] + v for v in numbers[0].values)
    elif letter := single_letter(text):
        return (f"letter {letter}",)
    return (words,) if (words := form(split(text))) else ()


def _item(text: str, answers: AbstractSet[str]) -> Item | None:
    """A cell as an answer; None when it is empty."""
    found = _readings(text)
    if not found:
        return None
    return Item(
        next((k for k in found if k in answers), found[0]), found[0] in _CHOICES or not answers.isdisjoint(found)
    )


def _in_order(values: list[str]) -> bool:
    """Whether values rise or fall: the squares, the primes, the letters of all choices."""
    if all(Item(v, True).is_number for v in values):
        steps = [Fraction(b) - Fraction(a) for a, b in pairwise(values)]
    else:
        steps = [Fraction((b > a) - (b < a)) for a, b in pairwise(values)]
    return all(s >= 0 for s in steps) or all(s <= 0 for s in steps)


def _is_table(items: list[Item], least: float) -> bool:
    """Whether enough items, and most of them, are answers, in no order."""
    held = [item.key for item in items if item.is_answer]
    count = sum(_USUAL if ordinary(key) else 1 for key in held)
    return count >= least and len(held) >= _SHARE * len(items) and not _in_order(held)


def _different(items: list[Item]) -> list[Item]:
    """Each number once; letters and words as often as they are."""
    numbers = {item.key: item for item in reversed(items) if item.is_number}
    return [item for item in items if not item.is_number or numbers[item.key] is item]


def _bare_items(cell: str, answers: AbstractSet[str]) -> list[Item]:
    """The answers that a cell without a name may hold: itself, or letters and numbers with blanks between."""
    if sum(map(cell.count, "([")) != sum(map(cell.count, ")]")):  # a part of a point or a triple
        return []
    whole = _item(cell, answers)
    if whole is None or (not whole.is_answer and _BLANKS_BETWEEN.fullmatch(cell)):
        return [item for part in cell.split() if (item := _item(part, answers))]
    return [whole] if whole.is_answer or whole.is_number or whole.key.startswith("letter") else []


def _in_cells(text: str) -> list[str]:
    """The cells of tables, lists and JSON, without the signs of their layout."""
    for pattern, replacement in _LAYOUT:
        text = pattern.sub(replacement, text)
    lines = (
        line.replace(" / ", ";") if line.count(" / ") > 2 and "," not in line else line for line in text.split("\n")
    )
    return [c.strip(" \t.,")[-_LONGEST:] for c in _CELL.split("\n".join(lines))]


def holds_table(text: str, answers: AbstractSet[str]) -> bool:
    """Whether a plain text has rows such as "Task 3: 42" or a list whose items are answers, in no order.

    Args:
        text: a template in plain characters (`latex.plain`).
        answers: the `keys` of all answers.
    """
    rows: list[Item] = []
    named: list[Item] = []
    lists: list[tuple[list[Item], float]] = [([], _ITEMS)]  # with how many answers make each a table
    for cell in _in_cells(text):
        if row := _ROW.fullmatch(cell):
            rows += [item] if (item := _item(row[1], answers)) else []
        elif (row := _NAMED.fullmatch(cell)) and (item := _item(row[1], answers)) and item.is_answer:
            named.append(item)
        lead = _LEAD.match(cell)
        items = _bare_items(cell[lead.end() :] if lead else cell, answers) if not row or lead else []
        if lead or not items:
            lists.append(([], _ITEMS_SAID if _SAYS_ANSWERS.search(cell) else _ITEMS))
        lists[-1][0].extend(items)
    return (
        _is_table(rows, _ROWS)
        or _is_table(named, _NAMED_ROWS)
        or any(_is_table(_different(items), least) for items, least in lists)
    )
