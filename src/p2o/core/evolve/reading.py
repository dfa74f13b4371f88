"""Reads a reflector's reply: removes the reasoning, then takes the instruction between the fences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...base.text import clean_text, shorten
from .result import Fate

_TAG = r"(?:think|thinking|thought|reasoning)"
_OPEN = re.compile(rf"\s*<({_TAG})>", re.I)
_ANY_OPEN = re.compile(rf"<{_TAG}>", re.I)
_CLOSE = re.compile(rf"</({_TAG})>", re.I)

_FENCE = re.compile(r"`{3,}|~{3,}")
_WORD = re.compile(r"[\w+#.-]+[ \t]*$")
"""An info string: one word up to the end of the line."""

_TALK = re.compile(
    r"(?:i|i['’]m|i['’]ve|i['’]ll|sorry|apologies|unfortunately|as an? (?:ai|language)|sure|certainly|of course|okay|ok"
    r"|here['’]s|here (?:is|are)|let me|let['’]s (?:see|look|analy[sz]e)|to improve|thank"
    r"|(?:the|this|my|your) (?:\w+ ){0,2}(?:model|instructions?|prompts?))\b",
    re.I,
)
"""The beginnings of replies that talk about an instruction instead of giving one."""


def read_reply(text: str, max_chars: int) -> tuple[str, Fate, str]:
    """The proposed template in a reply: the last fenced block after the reasoning.

    Fences are paired as in CommonMark, by character and length, and nested: a fence with an info word opens a block
    inside the block, so an instruction may hold fenced examples. Where the fences can be read in two ways, the reply is
    "ambiguous". A reply without any fence is taken whole, unless it begins like an explanation.

    Args:
        max_chars: a longer template is "too_long".

    Returns:
        (template, fate, reason); the fate is "" when the template is good.
    """
    if not text.strip():
        return "", "empty", "the reply is empty"
    rest = without_reasoning(text)
    if rest is None:
        return "", "unclosed_reasoning", "the reasoning block is never closed"
    if not rest.strip():
        return "", "empty", "there is nothing behind the reasoning"
    rest = rest.replace("\r\n", "\n")
    if not _FENCE.search(rest):
        if _TALK.match(rest.strip()):
            return "", "no_fence", "no ``` fence in the reply, and it begins like an explanation"
        return _fitting(rest, max_chars)
    blocks = list(fenced_blocks(rest))
    if any(block.doubtful for block in blocks):
        whole = rest[blocks[0].start : max(block.end or len(rest) for block in blocks)]
        return shorten(clean_text(whole).strip(), max_chars), "ambiguous", "its ``` fences can be paired in two ways"
    closed = [block for block in blocks if block.end is not None]
    if not closed:
        return "", "no_fence", "the ``` fence in the reply is never closed"
    return _fitting(rest[closed[-1].start : closed[-1].end], max_chars)


def _fitting(template: str, max_chars: int) -> tuple[str, Fate, str]:
    template = clean_text(template).strip()
    if not template:
        return "", "empty", "the fence is empty"
    if len(template) > max_chars:
        return shorten(template, max_chars), "too_long", f"{len(template)} characters, allowed {max_chars}"
    return template, "", ""


def without_reasoning(text: str) -> str | None:
    """The text after its reasoning block; None when the block is never closed.

    Only a block at the start counts, because an instruction may mention <think> tags. Its opening tag may be missing:
    some chat templates write that tag into the prompt.
    """
    at = 0
    while opened := _OPEN.match(text, at):
        tag = opened[1].lower()
        closed = next((c for c in _CLOSE.finditer(text, opened.end()) if c[1].lower() == tag), None)
        if closed is None:
            return None
        at = closed.end()
    closed = _CLOSE.search(text, at)
    if closed and not _ANY_OPEN.search(text, at, closed.start()):
        at = closed.end()
    return text[at:]


@dataclass
class Block:
    """A fenced block that is not inside another one: ``text[start:end]``."""

    start: int
    end: int | None
    """None: it is never closed."""
    doubtful: bool
    """Its opening fence is bare and follows another block, so it could also be a fence inside of that block."""


@dataclass(frozen=True)
class _Fence:
    start: int
    end: int
    mark: str
    first: bool
    """Only white space is before it on its line."""
    rest: str
    """What follows it on its line: "nothing", "word", "space" (before more text) or "text"."""
    last: bool
    """It is the last fence on its line."""
    content: int
    """Where the content begins, if this fence opens a block."""

    def closes(self, opener: _Fence) -> bool:
        return self.mark[0] == opener.mark[0] and len(self.mark) >= len(opener.mark)


def fenced_blocks(text: str) -> Iterator[Block]:
    """The outermost fenced blocks of a text, in order."""
    doubtful = False
    open_fences: list[_Fence] = []
    span: _Fence | None = None  # a fence inside a line of a block that another one on the line ends
    found = 0
    for fence in _fences(text):
        if span is not None:
            span = None
        elif not open_fences:
            open_fences.append(fence)
            doubtful = found > 0 and fence.first and fence.rest == "nothing"
            found += 1
        elif not fence.closes(open_fences[-1]):
            continue
        elif fence.first and fence.rest == "word":
            open_fences.append(fence)
        elif not fence.last and (not fence.first or fence.rest == "text"):
            span = fence
        else:
            opener = open_fences.pop()
            if not open_fences:
                yield Block(opener.content, fence.start, doubtful)
    if open_fences:
        yield Block(open_fences[0].content, None, doubtful)


def _fences(text: str) -> Iterator[_Fence]:
    line_start = 0
    for line in text.split("\n"):
        found = list(_FENCE.finditer(line))
        text_end = len(line.rstrip())
        for n, match in enumerate(found):
            word = _WORD.match(line, match.end())
            follows = line[match.end() : match.end() + 1]
            if word:
                rest, content = "word", word.end()
            else:
                rest = "text" if follows.strip() else "space" if match.end() < text_end else "nothing"
                content = match.end()
            yield _Fence(
                start=line_start + match.start(),
                end=line_start + match.end(),
                mark=match[0],
                first=n == 0 and not line[: match.start()].strip(),
                rest=rest,
                last=n == len(found) - 1,
                content=line_start + content,
            )
        line_start += len(line) + 1
