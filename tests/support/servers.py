"""An OpenAI-compatible server on loopback that misbehaves on command."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    text: str | None = "```\nThink step by step.\n```"
    """The assistant's text."""
    status: int = 200
    """Any other status answers with an error body, which quotes the request's key (as some servers do)."""
    delay: float = 0.0
    """Seconds before it answers."""
    raw: bytes | None = None
    """A body to send instead of a well-formed one."""
    times: int = 1
    """How often the body is sent, one after the other."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent along (a redirect's ``Location``, ``Content-Encoding``, ``Retry-After``)."""
    drip: float = 0.0
    """Seconds between the single bytes of the answer, its first line and headers included."""
    drop: bool = False
    """Close the connection without an answer."""


class ScriptedServer:
    """``with ScriptedServer(script) as server: ... server.url``.

    Args:
        script: answers in order, the last one for ever; or a function (prompt, number of the request from 0)
            → answer.
        key: when given, other keys get 401.
    """

    def __init__(self, script: Sequence[Answer] | Callable[[str, int], Answer], key: str | None = None) -> None:
        self.script = script
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any], authorization: str) -> Answer:
        """The scripted answer to one request, after its delay."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.key is not None and authorization != f"Bearer {self.key}":
            answer = Answer(status=401)
        elif callable(self.script):
            answer = self.script(body["messages"][-1]["content"], number)
        else:
            answer = self.script[min(number, len(self.script) - 1)]
        time.sleep(answer.delay)
        with self._lock:
            self.at_once -= 1
        return answer


def closed_port_url() -> str:
    """A URL where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/v1"


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def completion(content: Any, usage: Any = USAGE, finish_reason: str = "stop", **message: Any) -> bytes:
    """The body of an answer; any part may be of the wrong kind."""
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish_reason}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps(whole).encode()


def _handler(owner: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            authorization = self.headers.get("Authorization", "")
            answer = owner.answer(body, authorization)
            if answer.drop:
                self.close_connection = True
                return
            if answer.raw is not None:
                data = answer.raw
            elif answer.status == 200:
                data = completion(answer.text)
            else:
                data = json.dumps({"error": {"message": f"no: {authorization}", "type": "x"}}).encode()
            headers = {"Content-Type": "application/json", "Content-Length": len(data) * answer.times, **answer.headers}
            lines = [f"HTTP/1.0 {answer.status} Said", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            try:
                self.send("\r\n".join(lines).encode(), answer.drip)
                for _ in range(answer.times):
                    self.send(data, answer.drip)
            except OSError:  # the client gave up waiting
                self.close_connection = True

        def send(self, data: bytes, drip: float) -> None:
            for part in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
                self.wfile.write(part)
                time.sleep(drip)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
