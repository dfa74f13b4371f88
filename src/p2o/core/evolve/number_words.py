"""Numbers spelled out in English, as lower-case words without "and" or hyphens."""

from __future__ import annotations

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))


def spell(number: int) -> list[str]:
    """The words of a non-negative integer below 10¹²: 1234 → one thousand two hundred thirty four."""
    if number < 20:
        return [_ONES[number]]
    if number < 100:
        return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])]
    size, name = next(s for s in _SCALES if number >= s[0])
    rest = number % size
    return [*spell(number // size), name, *(spell(rest) if rest else [])]


def spellings(literal: str) -> list[tuple[str, ...]]:
    """The ways to spell a canonical number ("1234", "2.5"): as a number, and digit by digit."""
    whole, _, decimals = literal.partition(".")
    if not whole.isdecimal() or len(whole) > 12:
        return []
    tail = ["point", *(_ONES[int(d)] for d in decimals)] if decimals else []
    digits = [_ONES[int(d)] for d in whole]
    forms = {tuple(spell(int(whole)) + tail), tuple(digits + tail)}
    if len(whole) == 4 and whole[1] != "0" and not decimals:  # twelve hundred thirty four; nineteen eighty
        head, rest = int(whole[:2]), int(whole[2:])
        forms.add((*spell(head), "hundred", *(spell(rest) if rest else [])))
        forms.update({(*spell(head), *spell(rest))} if rest >= 10 else ())
    return sorted(forms)
