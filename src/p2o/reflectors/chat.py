"""A chat model behind an OpenAI-compatible endpoint: many questions at a time, each with a total deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx2

from ..base.daemon import run_coroutine
from ..base.secrets import quotable
from ..core.evolve import Reply
from ..core.evolve.reflector import token_count
from ..core.samples import Message
from ..errors import ReflectorError
from .wire import RequestFailure, client, message_in, post

log = logging.getLogger(__name__)

OPENAI = "https://api.openai.com/v1"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds before the second try, doubled before each later one, and their upper limit."""

_TOO_LONG = re.compile(r"context|exceed|too (?:large|long|many)", re.I)
"""Words of a server that refuses a value, not an option: another name for the option does not help."""


class ChatModel:
    """Asks a chat model over HTTP. It does not raise for any answer of the server: an error is in the `Reply`.

    It tries again after time-outs, lost connections, and HTTP 408, 409, 429 and 5xx. If a server's error 400 names
    ``max_tokens``, it asks again with ``max_completion_tokens``; if it names ``temperature``, it asks again without it
    (if ``may_drop_temperature``). Later questions use the options that worked.

    Args:
        model: the model's name at the endpoint.
        base_url: such as ``http://localhost:8000/v1``; by default the environment variable ``OPENAI_BASE_URL``, else
            OpenAI itself.
        api_key_env: the *name* of the environment variable that holds the key; None for no key. The key is read for
            each call, and not stored.
        concurrency: most requests at the same time.
        timeout: most seconds for one request, from the connection to the last byte.
        retries: tries after the first; a question ends after ``timeout`` × (1 + ``retries``) at the latest.
        may_drop_temperature: whether to ask a server that refuses ``temperature`` without one.

    Raises:
        ReflectorError: a value is not valid (a URL without a host, a timeout of 0, no key in the environment).
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = None,
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 3,
        may_drop_temperature: bool = False,
    ) -> None:
        self.model = model
        self.api_key_env = api_key_env
        self.concurrency, self.timeout, self.retries = concurrency, timeout, retries
        self.may_drop_temperature = may_drop_temperature
        self.refused: frozenset[str] = frozenset()
        """Options that the server has refused."""
        self._url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI).strip()
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ReflectorError(
                f"the endpoint's URL is {self.place!r}; it must begin with http:// or https:// and name a host"
            )
        if concurrency < 1 or timeout <= 0 or retries < 0:
            raise ReflectorError(
                f"for the endpoint {self.place}, concurrency is {concurrency}, timeout {timeout} and retries "
                f"{retries}; they must be at least 1, above 0, and at least 0"
            )
        self._key()

    @property
    def place(self) -> str:
        """The endpoint's URL without password and query."""
        parts = urlsplit(self._url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def __repr__(self) -> str:
        return f"ChatModel(model={self.model!r}, base_url={self.place!r})"

    def ask(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Mapping[str, Any],
        answered: Callable[[Reply], None] = lambda reply: None,
    ) -> list[Reply]:
        """The replies, in the order of the conversations.

        Args:
            options: options of every question (``temperature``, ``max_tokens``, …).
            answered: called with each reply as it comes; what it raises ends all requests and is raised here.
        """
        return run_coroutine(self._ask_all(conversations, options, answered))

    async def _ask_all(
        self,
        conversations: Sequence[Sequence[Message]],
        options: Mapping[str, Any],
        answered: Callable[[Reply], None],
    ) -> list[Reply]:
        free = asyncio.Semaphore(self.concurrency)

        async def one(conversation: Sequence[Message]) -> Reply:
            async with free:
                reply = await self._ask_until_deadline(http, [dict(m) for m in conversation], options)
            answered(reply)
            return reply

        try:
            async with client() as http, asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(conversation)) for conversation in conversations]
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _ask_until_deadline(
        self, http: httpx2.AsyncClient, messages: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> Reply:
        now = asyncio.get_running_loop().time
        end = now() + self.timeout * (1 + self.retries)
        for attempt in range(1 + self.retries):
            pause = 0.0
            try:
                async with asyncio.timeout(min(self.timeout, end - now())):
                    return read_answer(await self._ask(http, messages, options))
            except TimeoutError:
                failure = RequestFailure("timeout", f"no whole answer within {self.timeout:g} s", passing=True)
            except RequestFailure as e:
                failure = e
                pause = e.retry_after or min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            if not failure.passing or attempt == self.retries or now() + pause >= end:
                break
            await asyncio.sleep(pause)
        return Reply(None, failure.kind, reason=quotable(failure.reason, self._secrets()))

    async def _ask(self, http: httpx2.AsyncClient, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> bytes:
        """The server's answer to a question with the options that it accepts."""
        refused = self.refused
        while True:
            content = {"model": self.model, "messages": messages, **_without(refused, options)}
            try:
                answer = await post(http, self._chat_url(), self._headers(), content)
            except RequestFailure as e:
                named = self._named(e, content)
                if named is None:
                    raise
                refused |= {named}
            else:
                if "temperature" in refused - self.refused:
                    log.warning("%s takes no temperature for %s: its own is used", self.place, self.model)
                self.refused |= refused
                return answer

    def _named(self, failure: RequestFailure, content: Mapping[str, Any]) -> str | None:
        """The option that the server refuses, if the question can be asked without it or under another name."""
        replaceable = ("max_tokens", "temperature") if self.may_drop_temperature else ("max_tokens",)
        if failure.kind not in ("http_400", "http_422") or _TOO_LONG.search(failure.reason):
            return None
        return next((o for o in replaceable if o in content and re.search(rf"\b{o}\b", failure.reason)), None)

    def _chat_url(self) -> str:
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/chat/completions", fragment=""))

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _key(self) -> str:
        if self.api_key_env is None:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ReflectorError(
                f"the environment variable {self.api_key_env} is not set; it must hold the reflector's key "
                "(reflector_api_key_env names it)"
            )
        if not (key.isascii() and key.isprintable()):
            raise ReflectorError(f"the environment variable {self.api_key_env} holds characters that no key has")
        return key

    def _secrets(self) -> list[str]:
        parts = urlsplit(self._url)
        return [self._key(), unquote(parts.password or ""), *re.split("[&=]", parts.query)]


def _without(refused: frozenset[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without the refused ones; ``max_tokens`` gets its other name."""
    taken = {name: value for name, value in options.items() if name not in refused}
    if "max_tokens" in options and "max_tokens" in refused:
        taken["max_completion_tokens"] = options["max_tokens"]
    return taken


def read_answer(body: bytes) -> Reply:
    """Reads the reply from a server's answer to a chat request. The types in the answer are not trusted.

    Raises:
        RequestFailure: it holds no text.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as e:
        said = body.decode("utf-8", "replace")
        raise RequestFailure("bad_reply", f"the answer is not JSON: {said}" if said else "the answer is empty") from e
    choice = _at(answer, "choices", 0)
    message = _at(choice, "message")
    if not isinstance(message, Mapping):
        raise RequestFailure("bad_reply", f"the answer holds no message: {message_in(body)}")
    text = _text(message.get("content"))
    usage = _at(answer, "usage")
    written = token_count(_at(usage, "completion_tokens"))
    # A server that does not count may say 0; a prompt has tokens, and so has a text.
    tokens = token_count(_at(usage, "prompt_tokens")) or None, (written or None) if text else written
    if text is None:
        kind = type(message["content"]).__name__
        return Reply(None, "bad_reply", *tokens, f"the content of the message is no text but of type {kind}")
    if not text and isinstance(message.get("refusal"), str):
        return Reply(None, "refusal", *tokens, quotable(message["refusal"]))
    cut_off = _at(choice, "finish_reason") == "length"
    return Reply(text, None, *tokens, "cut off: it reached the longest reply (max_tokens)" if cut_off else "")


def _at(value: Any, *path: str | int) -> Any:
    """``value[path[0]][path[1]]…``, or None if there is no such part."""
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _text(content: Any) -> str | None:
    """The text of a message's content: a text, nothing, or a list of parts; None for anything else."""
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else _at(part, "text") for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None
