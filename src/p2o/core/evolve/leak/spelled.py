"""Numbers in English words: "forty-two", "nineteen eighty", "four two one seven", "two point five", "two thirds"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

_ONES_TEXT = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_ONES = {word: i for i, word in enumerate(_ONES_TEXT.split())}
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * i for i, word in enumerate(_TENS_TEXT.split(), 2)}
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100,
}  # fmt: skip
_SMALLEST = 13  # "one", "two" … are ordinary words
_MOST_PARTS = 15

_ANY = "|".join([*_TENS, *sorted(_ONES, key=len, reverse=True), *SCALES, "point"])
_WORD = rf"(?:(?:{'|'.join(SCALES)})[\s-]+and|{_ANY})\b"
RUN = re.compile(
    rf"\b{_WORD}(?:[\s-]+{_WORD})*(?:[\s-]+({'|'.join(_PARTS)})s?\b)?(\s*(?:%|per\s?cent\b))?", re.IGNORECASE
)
"""Number words in a row; the groups are the name of a part ("three quarters") and a percent sign."""


def _cardinals(words: Sequence[str]) -> list[int]:
    """The whole numbers in a row of words, each as long as it can be: (twenty, one, five) is 21 and 5."""
    numbers: list[int] = []
    total, current, scale, started = 0, 0, 10**15, False

    def end() -> None:
        nonlocal total, current, scale, started
        if started:
            numbers.append(total + current)
        total, current, scale, started = 0, 0, 10**15, False

    for word in words:
        if word == "hundred":
            if not 0 < current < 100:
                end()
                current = 1
            current *= 100
        elif word in SCALES:
            if SCALES[word] >= scale or (started and not current):
                end()
            scale = SCALES[word]
            total, current = total + (current or 1) * scale, 0
        else:
            value = _ONES[word] if word in _ONES else _TENS[word]
            room = 1 if not started else 10 if current % 100 in range(20, 100, 10) else 100 if not current % 100 else 0
            if started and (value >= room or not value):
                end()
            current += value
        started = True
    end()
    return numbers


def _concatenated(numbers: Sequence[int]) -> Iterator[int]:
    """Numbers said part by part: 4, 2, 1, 7 is 4217, 19 and 80 is 1980."""
    texts = [str(n) for n in numbers]
    for i, j in combinations(range(len(texts) + 1), 2):
        if 2 <= j - i <= _MOST_PARTS:
            yield int("".join(texts[i:j]))


def read_run(run: re.Match[str]) -> list[Fraction]:
    """The number that words in a row stand for, then every other that some of them make; none for "one", "two" alone.

    Args:
        run: a match of `RUN`.
    """
    words = [w for w in re.split(r"[\s-]+", run[0].removesuffix(run[2] or "").lower()) if w != "and"]
    part = _PARTS[run[1].lower()] if run[1] else 0
    words = words[:-1] if part else words
    whole, _, after = " ".join(words).partition("point")
    numbers = _cardinals(whole.split())
    decimals = [w for w in after.split() if w != "point"]
    if part:
        values = [Fraction(n, part) for n in numbers[-1:]]
    elif decimals and all(_ONES.get(w, 10) < 10 for w in decimals):
        values = [Fraction(f"{n}.{''.join(str(_ONES[w]) for w in decimals)}") for n in numbers[-1:] or [0]]
    else:
        values = sorted(map(Fraction, _concatenated(numbers[-_MOST_PARTS:])), reverse=True)
    values += [Fraction(n) for n in numbers if n >= _SMALLEST or run[2]]
    return [*(v / 100 for v in values), *values] if run[2] else values
