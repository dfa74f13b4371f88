"""The turns of a rollout with tools: as text for a person or a reflector, and how often tools were called. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..base.text import shorten
from .samples import Rollout, content_text

ENVIRONMENT = "environment"
"""Role of a message that is not the policy's: what an environment said before the first turn."""
TRANSCRIPT_CHARS = 2400
"""Longer transcripts lose turns in their middle."""
ERROR = "{'error':"
"""Begins the result of a call that failed (TRL writes ``str({"error": …})``)."""

Part = tuple[str, str, str]
"""(kind, name of the tool, text) of a part of a rollout: "said", "call", "result" or "environment"."""
LEAST_PART_CHARS = 80
"""A part of a rollout is not cut shorter."""


@dataclass(frozen=True)
class Calls:
    """The tool calls of a rollout."""

    count: int = 0
    failed: int = 0
    """Calls that raised an error, or named no tool."""


@dataclass(frozen=True)
class PlayedRollout(Rollout):
    """A rollout in which tools could be called."""

    calls: Calls = Calls()


def call_shares(calls: Sequence[Calls]) -> tuple[float | None, float | None]:
    """(calls of a rollout on average, share of all calls that failed); None where there are no rollouts, no calls."""
    total = sum(c.count for c in calls)
    return total / len(calls) if calls else None, sum(c.failed for c in calls) / total if total else None


def calls_in(messages: Sequence[Mapping[str, Any]]) -> Calls:
    """Counts the results of tool calls in a rollout's messages."""
    results = [content_text(message.get("content")) for message in messages if message.get("role") == "tool"]
    return Calls(len(results), sum(text.startswith(ERROR) for text in results))


def transcript(messages: Sequence[Mapping[str, Any]], limit: int | None = None) -> str:
    """The messages of a rollout as text, a blank line between two. One answer without a tool call is its own text.

    Args:
        messages: assistant messages and tool results, as TRL hands them to reward functions; and `ENVIRONMENT` ones.
        limit: most characters. The turns in the middle are left out first, so that the beginning and the last message
            stay.
    """
    parts = [_line(part) for message in messages for part in _parts(message)]
    if limit is None:
        return "\n\n".join(parts)
    return shorten("\n\n".join(_without_middle(parts, limit)), limit)


def turns(messages: Sequence[Mapping[str, Any]], limit: int) -> list[Part]:
    """The messages of a rollout with tools, as a page shows them: each call, result and answer for itself. Empty where
    no tool was called.

    Args:
        limit: most characters of all texts together; long ones lose their middle.
    """
    if not any(message.get("role") == "tool" for message in messages):
        return []
    parts = [part for message in messages for part in _parts(message)]
    room = max(LEAST_PART_CHARS, limit // len(parts))
    return [(kind, name, shorten(text, room)) for kind, name, text in parts]


def _parts(message: Mapping[str, Any]) -> list[Part]:
    text = content_text(message.get("content"))
    role = message.get("role")
    if role == "tool":
        return [("result", str(message.get("name") or "a tool"), text)]
    if role == ENVIRONMENT:
        return [("environment", "", text)]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    return [("said", "", text), *calls] if text or not calls else calls


def _call(call: Mapping[str, Any]) -> Part:
    function = call.get("function") or call
    arguments = function.get("arguments")
    shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    return "call", str(function.get("name") or "a tool"), shown


def _line(part: Part) -> str:
    kind, name, text = part
    return text if kind == "said" else f"[{kind} of {name}] {text}" if name else f"[{kind}] {text}"


def _without_middle(parts: Sequence[str], limit: int) -> list[str]:
    """At most ``limit`` characters of parts that are joined by two line ends: the first and the last one, then as many
    as fit, from both ends inwards."""
    if sum(map(len, parts)) + 2 * (len(parts) - 1) <= limit:
        return list(parts)
    if len(parts) == 1:
        return [shorten(parts[0], limit)]
    parts = [*(shorten(part, limit // 4) for part in parts[:-1]), shorten(parts[-1], limit // 2)]
    head, tail = [parts[0]], [parts[-1]]
    middle = list(parts[1:-1])
    room = limit - len(parts[0]) - len(parts[-1]) - len(_left_out(len(parts))) - 4
    while middle:
        room -= len(middle[-1 if len(tail) <= len(head) else 0]) + 2
        if room < 0:
            break
        if len(tail) <= len(head):
            tail.insert(0, middle.pop())
        else:
            head.append(middle.pop(0))
    return [*head, *([_left_out(len(middle))] if middle else []), *tail]


def _left_out(count: int) -> str:
    return f"[… {count} parts left out …]"
