"""Templates that leak, for the leak guard's benchmark: every way of hiding an answer or a copy that must be caught."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from leak_sets import BOX
from p2o.core.samples import Sample

FRAMES = (
    "The answer is {}.",
    "Remember: {} Check it.",
    "Work carefully.\nResult: {}",
    "Think, then write {} in the box.",
)
"""Templates around what leaks."""
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_SOFT_HYPHEN = "\u00ad"
_LOOKALIKES = dict(zip("aceiopsxyhjABCEHIKMOPSTXY", "асеіорѕхуһјАВСЕНІКМОРЅТХУ", strict=True)) | {"v": "ν", "g": "ɡ"}
_OTHER_WORDS = "maybe green seldom window carry river often pencil yellow Tuesday bridge quickly lamp paper"
_SPELLED = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fifty sixty seventy eighty ninety
"""
_ONES, _TENS = _SPELLED.split()[:20], ["", "", *_SPELLED.split()[20:]]
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))

Planted = tuple[str, str, list[Sample], bool]
"""Kind of leak, template, the samples that it leaks, whether it must be refused."""


def spell(n: int) -> str:
    """A whole number below 10¹² in words."""
    if n < 100:
        return _ONES[n] if n < 20 else " ".join([_TENS[n // 10], *([_ONES[n % 10]] if n % 10 else [])])
    size, name = next(s for s in _SCALES if n >= s[0])
    return " ".join([spell(n // size), name, *([spell(n % size)] if n % size else [])])


def value(answer: str) -> Fraction | None:
    """The number of a gold answer of `leak_sets`, if it is one."""
    if m := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", answer):
        return Fraction(int(m[1] + m[2]), int(m[3]))
    return Fraction(answer) if re.fullmatch(r"-?\d+(\.\d+)?", answer) else None


def _decimal(x: Fraction) -> str:
    return f"{float(x):.10f}".rstrip("0").rstrip(".") if 10**6 % x.denominator == 0 else f"{float(x):.4f}"


def _percent(x: Fraction) -> str:
    return f"{_decimal(100 * x) if 10**6 % x.denominator == 0 else f'{float(100 * x):.2f}'}%"


def _braced(a: int, b: int) -> str:
    return f"\\frac{a}{b}" if 0 < a < 10 and b < 10 else f"\\frac{{{a}}}{{{b}}}"


DIGIT_FORMS: dict[str, Callable[[str], str]] = {
    "digits with blanks": " ".join,
    "digits with dots": ".".join,
    "digits with underscores": "_".join,
    "digits with \\,": "\\,".join,
    "digits with zero-width characters": "\u200b".join,
    "digits with soft hyphens": _SOFT_HYPHEN.join,
}
"""Ways to write the digits of a whole number."""

VALUE_FORMS: dict[str, Callable[[Fraction], str]] = {
    "\\frac12": lambda x: _braced(x.numerator, x.denominator),
    "{a \\over b}": lambda x: f"{{{x.numerator} \\over {x.denominator}}}",
    "a/b": str,
    "decimal": _decimal,
    "percent": _percent,
}
"""Ways to write a number that is no whole one."""


def _forms(answer: str) -> Iterator[tuple[str, str]]:
    """(kind, the answer in this form)."""
    x = value(answer)
    if x is not None and x.denominator == 1 and x > 9:
        yield from ((kind, form(str(x))) for kind, form in DIGIT_FORMS.items())
        if x >= 13:
            yield "in words", spell(int(x))
    elif x is not None and x.denominator > 1:
        yield from ((kind, form(x)) for kind, form in VALUE_FORMS.items())


def _golds(sample: Sample, rng: random.Random) -> Iterator[tuple[str, Sample, str]]:
    """(kind, the sample with its gold answer in another form, what a template says)."""

    def other(gold: str) -> Sample:
        return Sample(sample.id, sample.messages, gold, sample.columns)

    x = value(str(sample.answer))
    if x is not None and x.denominator == 1 and 1000 <= x < 10**6:
        yield "gold 1\\,234", other(f"{int(x) // 1000}\\,{int(x) % 1000:03}"), rng.choice((str(x), f"{int(x):,}"))
    elif x is not None and x.denominator == 1 and 0 < x < 361:
        sides = [f"{x}^\\circ", f"{x}°", f"{x}^{{\\circ}}", f"{x} degrees"]
        gold, said = rng.sample(sides, 2)
        yield "gold 90^\\circ, 90°", other(gold), said
    elif x is not None and 10**6 % x.denominator == 0:
        sides = [_decimal(x), str(x), f"\\frac{{{x.numerator}}}{{{x.denominator}}}", _percent(x)]
        gold, said = rng.sample(sides, 2)
        yield "gold 0.5, 1/2", other(gold), said


def _tables(forms: dict[str, list[tuple[str, Sample]]], rng: random.Random) -> Iterator[tuple[str, str, list[Sample]]]:
    """(form, template, samples): six to twelve answers as rows, as lines, as a list, in sentences."""
    for form, pairs in forms.items():
        for _ in range(8):
            some = rng.sample(pairs, min(len(pairs), rng.randint(6, 12)))
            if len({said for said, _ in some}) < 6:
                continue
            layouts = (
                "Known answers: " + "; ".join(f"{s.id}: {said}" for said, s in some),
                "\n".join(f"Task {i}: {said}" for i, (said, _) in enumerate(some, 1)),
                "Think step by step.\nThe answers are " + ", ".join(said for said, _ in some) + ".",
                "Check the result.\n" + "\n".join(f"{i}. {said}" for i, (said, _) in enumerate(some, 1)),
            )
            yield form, rng.choice(layouts), [s for _, s in some]


class Fresh:
    """Other problems from the same source, which no guard has read.

    Args:
        questions: without what says the format.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        by_length: dict[int, list[list[int]]] = defaultdict(list)
        for question in questions:
            by_length[len(question.split())].append(list(map(hash, question.split())))
        self.by_length = {length: np.array(words) for length, words in by_length.items()}

    def hold(self, words: Sequence[str], kept: Sequence[int]) -> bool:
        """Whether one of them has the same words at the places that are kept: they belong to no sample then."""
        others = self.by_length.get(len(words))
        if others is None:
            return False
        return bool((others[:, kept] == [hash(words[i]) for i in kept]).all(axis=1).any())


def _parts(words: Sequence[str], rng: random.Random) -> Iterator[tuple[str, list[str], list[int]]]:
    """(kind, words, the places of those that are a question's own): of at least 12 words, halves of at least 16."""
    places = range(len(words))
    if len(words) >= 12:
        first = rng.randrange(4)
        changed = [rng.choice(_OTHER_WORDS.split()) if i % 4 == first else w for i, w in enumerate(words)]
        yield "question with every fourth word changed", changed, [i for i in places if i % 4 != first]
    if len(words) >= 16:
        half = len(words) // 2
        kept = list(rng.choice((places[: half + 1], places[half:])))
        yield "half of a question", [words[i] for i in kept], kept


def copies(sample: Sample, fresh: Fresh | None, rng: random.Random, box: str = BOX) -> Iterator[tuple[str, str]]:
    """(kind, what is copied).

    Args:
        fresh: problems of the same forms; None for a question that fills in no form.
        box: the end of the question that says the format.
    """
    question = sample.question.removesuffix(box)
    words = question.split()
    wording = "own wording" if fresh is None else "a form filled in"
    hidden = "".join(c + rng.choice(_ZERO_WIDTH) if c.isalpha() else c for c in question)
    yield f"question ({wording})", question
    yield f"question and format ({wording})", sample.question
    yield f"question with zero-width characters ({wording})", hidden
    yield f"question with look-alike letters ({wording})", "".join(_LOOKALIKES.get(c, c) for c in question)
    for kind, part, kept in _parts(words, rng):
        others = ", of others too" if fresh is not None and fresh.hold(words, kept) else ""
        yield f"{kind} ({wording}{others})", " ".join(part)
    if "solution" in sample.columns:
        yield f"solution ({wording})", str(sample.columns["solution"])


def planted(kind: str, samples: list[Sample], fresh: Fresh, seed: int = 0) -> Iterator[Planted]:
    """Leaking templates for one hard set.

    Args:
        kind: the kind of its answers (`leak_sets.ANSWERS`).
        fresh: other problems of the forms that are filled in.
    """
    rng = random.Random(f"planted {kind} {seed}")
    by_form: dict[str, list[tuple[str, Sample]]] = {"plain": []}
    for s in samples:
        said = str(s.answer)
        yield "answer", rng.choice(FRAMES).format(said), [s], False
        by_form["plain"].append((said, s))
        for form, hidden in _forms(said):
            yield f"answer: {form}", rng.choice(FRAMES).format(hidden), [s], False
            by_form.setdefault(form, []).append((hidden, s))
        for form, other, hidden in _golds(s, rng):
            yield form, rng.choice(FRAMES).format(hidden), [other], False
        for form, copy in copies(s, None if s.id.startswith("q") else fresh, rng):
            yield form, rng.choice(FRAMES).format(copy), [s], True
    for form, template, some in _tables(by_form, rng):
        yield f"table: {form}", template, some, True
