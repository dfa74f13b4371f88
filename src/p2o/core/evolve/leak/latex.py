"""LaTeX as plain text, as far as a number or a formula is recognised in it."""

from __future__ import annotations

import re

from .characters import fold

_SPACE_IN_NUMBER = re.compile(r"(?<=\d)\s*(?:\\[,!;: ]|\\thinspace(?![a-zA-Z])|\{,\})\s*(?=\d)")
_FRAC = re.compile(r"\\(?:[dtc]?frac|nicefrac|sfrac)(?![a-zA-Z])\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))")
_OVER = re.compile(r"\{([^{}]*?)\\over(?![a-zA-Z])([^{}]*)\}")
_ARGUMENT = re.compile(r"(\\(?!\w*frac|over)[a-zA-Z]+\s*|[\^_]\s*)\{([^{}]*)\}")
_SPACE = re.compile(r"\s\s+|[^\S ]")  # all but a single blank
_LONG_NUMBER = re.compile(r"(\d{40})\d+")
_DEEPEST = 6  # braces in braces
_GREEK = {
    "alpha": "a", "beta": "b", "gamma": "y", "epsilon": "e", "varepsilon": "e", "eta": "n", "iota": "i", "kappa": "k",
    "nu": "v", "rho": "p", "tau": "t", "upsilon": "u", "chi": "x", "omega": "w",
}  # fmt: skip
"""Greek letters that look like Latin ones, as `fold` makes of them."""
_WORDS = "|".join(
    (
        r"left|right|text(?:bf|it|rm|normal)?|math(?:rm|bf|it|sf|bb)|mbox|boxed|fbox|operatorname|displaystyle|emph",
        r"[bB]igg?[lr]?|q?quad",
    )
)
_REST = (
    (re.compile(r"\\(?:over|div)(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\^\s*\(?\s*\\circ(?![a-zA-Z])\s*\)?|\\(?:text)?degrees?(?![a-zA-Z])"), "°"),
    (re.compile(r"\\(le|ge|ne)q(?![a-zA-Z])"), r" \1 "),
    (re.compile(rf"\\(?:(?:{_WORDS})(?![a-zA-Z])|[,!;: ])"), " "),
    (re.compile(rf"\\({'|'.join(_GREEK)})(?![a-zA-Z])"), lambda m: f" {_GREEK[m[1]]} "),
    (re.compile(r"[\\{}$]"), " "),
)


def _fraction(above: str, below: str) -> str:
    """a/b, with brackets around what is more than one number or word."""
    parts = [p if re.fullmatch(r"-?\w+(?:\.\d+)?", p) else f"({p})" for p in (above.strip(), below.strip())]
    return f" {'/'.join(parts)} "


def _without_braces(text: str) -> str:
    """Fractions as a/b and the arguments of commands in round brackets, the innermost first."""
    for _ in range(_DEEPEST):
        before = text
        text = _FRAC.sub(lambda m: _fraction(m[1] or m[2] or "", m[3] or m[4] or ""), text)
        text = _OVER.sub(lambda m: _fraction(m[1], m[2]), text)
        text = _ARGUMENT.sub(r"\1(\2)", text)
        if text == before:
            break
    return text


def plain(text: str) -> str:
    r"""A text in plain characters and without LaTeX: "1\,234" is 1234, "\frac12" is 1/2, "90^\circ" is 90°.

    White space in a row becomes one blank or one line break, and of very long numbers only the first digits are kept.
    """
    text = fold(text)
    if any(sign in text for sign in "\\{$"):
        text = _without_braces(_SPACE_IN_NUMBER.sub("", text))
        for pattern, replacement in _REST:
            text = pattern.sub(replacement, text)
    return _LONG_NUMBER.sub(r"\1", _SPACE.sub(lambda m: "\n" if "\n" in m[0] else " ", text))
