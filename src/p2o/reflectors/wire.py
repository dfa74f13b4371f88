"""One request to a server that is not trusted: the answer is limited in size; the prompt goes to no other server."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from typing import Any

import httpx2

from ..base.secrets import without_secrets

MAX_BYTES = 8 * 2**20
"""Most bytes of an answer's body, unpacked. A reply of 100,000 tokens is below 1 MiB."""

MAX_REDIRECTS = 3
_UNPACK_GZIP_OR_ZLIB = zlib.MAX_WBITS + 32


class RequestFailure(Exception):  # noqa: N818 (an event, not an error of ours)
    """Why a request got no answer.

    Args:
        kind: a word by which failures are counted ("connection", "auth", "http_400").
        reason: what is known about it.
        passing: whether the failure may be temporary.
        retry_after: seconds that the server asks to wait.
    """

    def __init__(self, kind: str, reason: str, passing: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind, self.reason, self.passing, self.retry_after = kind, reason, passing, retry_after


def _hide_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True


logging.getLogger("httpx2").addFilter(_hide_secrets)  # it logs each URL with its password


def client() -> httpx2.AsyncClient:
    """A client without time-outs (the caller has a total deadline) and without a limit on connections."""
    return httpx2.AsyncClient(timeout=None, limits=httpx2.Limits(max_connections=None))


async def post(http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], content: Mapping[str, Any]) -> bytes:
    """The body of the answer to a JSON request.

    Raises:
        RequestFailure: there is no connection; or the answer is an error, is too long, or redirects to another server.
    """
    body = json.dumps(content).encode()
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **headers}
    try:
        for _ in range(MAX_REDIRECTS + 1):
            async with http.stream("POST", url, content=body, headers=headers) as answer:
                if answer.has_redirect_location:
                    url = _same_server(answer)
                    continue
                received = await _read(answer)
                if answer.is_success:
                    return received
                raise _refusal(answer, received)
    except (httpx2.HTTPError, httpx2.InvalidURL) as e:
        raise RequestFailure("connection", f"{type(e).__name__}: {e}", passing=True) from e
    raise RequestFailure("redirect", f"the server redirected more than {MAX_REDIRECTS} times")


def _same_server(answer: httpx2.Response) -> str:
    """The URL to which a redirect leads. Raises RequestFailure if it is on another server."""
    asked, target = answer.request.url, answer.request.url.join(answer.headers["location"])
    if (target.scheme, target.host, target.port) != (asked.scheme, asked.host, asked.port):
        place = target.copy_with(userinfo=b"", query=None, fragment=None)
        raise RequestFailure(
            "redirect",
            f"the server redirects to another one, {place}, which gets no prompt; if you trust it, give its URL",
        )
    return str(target)


async def _read(answer: httpx2.Response) -> bytes:
    """The body, unpacked."""
    packing = answer.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", "deflate", ""):
        raise RequestFailure("bad_reply", f"the answer is packed as {packing!r}, which was not asked for")
    unpack = zlib.decompressobj(_UNPACK_GZIP_OR_ZLIB) if packing in ("gzip", "deflate") else None
    body = bytearray()
    async for chunk in answer.aiter_raw():
        try:
            body += unpack.decompress(chunk, MAX_BYTES + 1 - len(body)) if unpack else chunk
        except zlib.error as e:
            raise RequestFailure("bad_reply", f"the answer cannot be unpacked ({e})") from e
        if len(body) > MAX_BYTES:
            raise RequestFailure("too_large", f"the answer is longer than {MAX_BYTES // 2**20} MiB")
    return bytes(body)


def _refusal(answer: httpx2.Response, body: bytes) -> RequestFailure:
    status = answer.status_code
    names = {401: "auth", 403: "auth", 408: "timeout", 429: "rate_limit"}
    kind = names.get(status) or ("server_error" if status >= 500 else f"http_{status}")
    passing = status in (408, 409, 429) or status >= 500
    return RequestFailure(kind, f"HTTP {status}: {message_in(body)}", passing, _seconds(answer.headers))


def message_in(body: bytes) -> str:
    """A server's text about an error: its message, or the whole body if it has none."""
    try:
        content: Any = json.loads(body)
        for name in ("error", "message", "detail"):
            if isinstance(content, Mapping) and content.get(name):
                content = content[name]
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:  # a date
        return 0.0
