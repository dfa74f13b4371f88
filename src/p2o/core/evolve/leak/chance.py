"""The probability that an honest template holds an answer by chance: it depends on the share of answers among such
numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from operator import mul

from .numbers import Number, near

_IN_A_TABLE = 0.8  # how likely a number in a table of answers is one
_SHORT = 3  # digits
_CROWDED = 2.5  # of short numbers people use some much more than others: as if there were fewer of them
_LONGEST_PRICE = 4  # digits of 12.50, 7.25, 19.99
_MOST_PLACES = 18
_SMALL = 20
_FEW = 12  # parts of a whole
_SIMPLE = 6  # halves to sixths
_YEARS = range(1900, 2101)
_UNITS = """
14 15 18 20 21 24 28 30 31 35 40 42 45 48 50 52 55 56 60 63 66 70 72 75 80 84 90 96 98 99 101 108 110 120 150 168 180
200 212 240 250 270 273 300 360 365 366 400 450 454 480 500 540 600 630 750 800 900 999 1001 1234 1440 1500 1609 1760
2400 2500 3600 5050 5280 8760 9999 12345 43560 86400 123456 142857 299792458 1/8 3/8 5/8 7/8 1/10 3/10 7/10 9/10 1/12
1/16 1/20 1/100 3/2 5/2 4/3 5/3 9/5 22/7 157/50 3927/1250 127/50 49/5 981/100 1359/500 707/500 433/250 809/500
301/1000 477/1000 693/1000 8/5 1609/1000
"""


def _usual() -> Iterator[str]:
    """Numbers of units and examples, squares, powers and factorials, simple fractions and their decimals."""
    yield from _UNITS.split()
    yield from (
        str(n**k) for n in range(2, 33) for k in range(2, 21) if n**k > 99 and (n**k <= 1024 or n in (2, 3, 5, 10))
    )
    yield from map(str, accumulate(range(1, 11), mul))
    for below in range(2, _SIMPLE + 1):
        for above in range(1, below):
            yield from (str(Fraction(above, below)), *near(str(Fraction(above, below))))


_USUAL = frozenset(_usual())


def ordinary(value: str) -> bool:
    """Whether the number is so common that it is no evidence."""
    value = value.removeprefix("-")
    return value in _USUAL or (value.isdecimal() and (int(value) <= _SMALL or int(value) in _YEARS))


@lru_cache(maxsize=65536)
def shape(value: str) -> tuple[str, float]:
    """The kind of numbers that a value belongs to, and how many of them people use.

    Whole numbers and decimals go by their digits and by the zeros at the end, other fractions by the digits above and
    below the line.
    """
    above, _, below = value.removeprefix("-").partition("/")
    places = next((p for p in range(_MOST_PLACES) if 10**p % int(below) == 0), None) if below else 0
    if places is None:
        digits = above + below
        kind = f"{len(above)}/{len(below)} digits" if int(below) > _FEW else f"{len(above)} digits/small"
        size = 40 * 10.0 ** (len(digits) - 2) if int(below) > _FEW else 30.0
    else:
        digits = str(int(above) * 10**places // int(below or 1))
        zeros = 0 if places else len(digits) - len(digits.rstrip("0"))
        kind = f"{len(digits)} digits, {places} places, {zeros} zeros"
        size = 9.0 * 10.0 ** max(0, len(digits) - zeros - 2) * (9 if len(digits) > zeros + 1 else 1)
        if places and len(digits) <= _LONGEST_PRICE and (below in ("2", "4") or digits[-2:] in ("49", "95", "99")):
            kind, size = "prices", 100.0
    return kind, size / _CROWDED if len(digits) <= _SHORT else size


class Evidence:
    """Weighs the numbers of a template against a set of answers.

    Each different number adds log(P(answer | a table of answers) / P(answer | honest)) when it is an answer, and the
    same of "no answer" when it is none; the second probability is the share of answers among numbers of its shape.
    Over all runs of n numbers, an honest template reaches a sum of s with a chance of at most n · exp(−s) (Wald; as in
    searches for similar sequences). Numbers that anybody writes count neither way.

    Args:
        answers: each value by which an answer may be given → the answer's own (0.333 → 1/3).
    """

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers
        self.known = Counter(shape(v)[0] for v in answers)

    def chance(self, values: Sequence[str]) -> float:
        """How likely an honest number with these readings is an answer."""
        shapes = dict(map(shape, values))
        likely = sum((self.known[kind] + 1) / (size + 2) for kind, size in shapes.items())
        return min(_IN_A_TABLE, likely)

    def best_run(self, numbers: Sequence[Number]) -> tuple[float, dict[str, Number]]:
        """The largest sum over numbers in a row, and the answers among them with their places."""
        best, score = 0.0, 0.0
        found: dict[str, Number] = {}
        held: dict[str, Number] = {}
        seen: set[str] = set()
        for number in self._each(numbers):
            answer = next((self.answers[v] for v in number.values if v in self.answers), None)
            name = answer or number.values[0]
            if name in seen or any(map(ordinary, (name, *number.values))):
                continue
            seen.add(name)
            chance = self.chance(number.values)
            if answer is None:
                score += math.log((1 - _IN_A_TABLE) / (1 - chance))
            else:
                score += math.log(_IN_A_TABLE / chance)
                held[answer] = number
            if score <= 0:
                score, held = 0.0, {}
            elif score > best:
                best, found = score, dict(held)
        return best, found

    def _each(self, numbers: Sequence[Number]) -> list[Number]:
        """Numbers with signs between their digits as one number when that is an answer, else as several."""
        out: list[Number] = []
        for n in numbers:
            out.extend((n,) if not n.parts or any(v in self.answers for v in n.values) else n.parts)
        return out
