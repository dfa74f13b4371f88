"""Texts as words, numbers and signs of arithmetic, so that two ways of writing the same are the same."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from sys import intern

from .latex import plain
from .numbers import LITERAL

Form = tuple[str, ...]
"""Tokens in a row."""

_DIGITS = frozenset("0123456789.")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")  # step-by-step is three words
_TOKEN = re.compile(
    rf"[^\W\d_]+|(?=[\d.])(?:(?<![/\d])(?<!/ ){LITERAL}\s*/\s*{LITERAL}(?!\d|\s*/\s*\d)|{LITERAL})|[-+*/·=^<>%]"
)
_NO_BLANKS_BETWEEN = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\u2e80-\u9fff\uf900-\ufaff]+")  # Chinese, Japanese


@lru_cache(maxsize=65536)
def _number(token: str) -> Form:
    """A number without needless zeros and signs; as a reduced fraction when it is none of the whole ones."""
    if token.isdecimal():
        return (token.lstrip("0") or "0",)
    above, _, below = re.sub(r"[,_'\s]", "", token).partition("/")
    value = Fraction(above) / Fraction(below or 1) if Fraction(below or 1) else None
    if value is None:
        return (above, "/", below)
    return (str(value.numerator),) if value.denominator == 1 else (str(value.numerator), "/", str(value.denominator))


def split(text: str) -> Form:
    """The tokens of a plain text (`latex.plain`): lower-case words, numbers, signs; all else falls away.

    Decimals and fractions are three tokens, the reduced fraction: "0.50", "1/2" and "2/4" are ("1", "/", "2").
    """
    out: list[str] = []
    if "-" in text:
        text = _HYPHEN.sub(" ", text)
    if ascii := text.isascii():
        text = text.lower()
    for token in _TOKEN.findall(text):
        if token[0] in _DIGITS:
            out.extend(_number(token))
        elif ascii:
            out.append(token)
        elif token.isascii():
            out.append(token.lower())
        else:
            out.extend(_NO_BLANKS_BETWEEN.findall("*" if token == "·" else token.casefold()))
    return tuple(map(intern, out))


def tokens(text: str) -> Form:
    """The tokens of any text."""
    return split(plain(text))
