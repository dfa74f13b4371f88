"""A served policy: what goes wrong ends the command with its reason, within a total deadline."""

from __future__ import annotations

import json
import time

import pytest

from p2o.errors import ConfigError
from p2o.generation.policies import Completion, EndpointPolicy
from p2o.generation.settings import GenerationSettings
from servers import Answer, ScriptedServer, closed_port_url, completion

SETTINGS = GenerationSettings(max_new_tokens=30)
CHATS = [[{"role": "user", "content": f"question {n}"}] for n in range(40)]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_completes_in_order() -> None:
    with ScriptedServer(lambda prompt, n: Answer(f"re {prompt}")) as server:
        done = EndpointPolicy("m", server.url, SETTINGS, concurrency=8).complete(CHATS, 0.0)
        assert done == [Completion(f"re question {n}", 11, 7) for n in range(40)]
        assert {(r["temperature"], r["max_tokens"]) for r in server.requests} == {(0.0, 30)}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(status=404, raw=b'{"error": {"message": "no model m"}}'), r"\(http_404: HTTP 404: no model m\)"),
        (Answer(raw=b"{not json"), "bad_reply: the answer is not JSON"),
        (Answer(raw=completion(3)), "no text but of type int"),
        (Answer(drip=0.05), "timeout: no whole answer within 0.4 s"),
        (Answer(delay=30.0), "timeout"),
        (Answer(status=307, headers={"Location": "http://127.0.0.1:1/v1"}), "redirect"),
    ],
)
def test_faults(answer: Answer, says: str) -> None:
    with ScriptedServer([answer]) as server:
        start = time.monotonic()
        with pytest.raises(ConfigError, match=says):
            EndpointPolicy("m", server.url, SETTINGS, concurrency=8, timeout=0.4).complete(CHATS, 0.0)
        assert time.monotonic() - start < 0.4 * 3 + 2


def test_nobody_there() -> None:
    with pytest.raises(ConfigError, match=r"failed \(connection: .*check that it runs"):
        EndpointPolicy("m", closed_port_url(), SETTINGS, timeout=1.0).complete(CHATS, 0.0)


def test_a_temperature_is_never_left_out() -> None:
    refusal = json.dumps({"error": {"message": "Unsupported value: 'temperature'"}}).encode()
    with ScriptedServer([Answer(status=400, raw=refusal)]) as server:
        with pytest.raises(ConfigError, match="Unsupported value: 'temperature'"):
            EndpointPolicy("m", server.url, SETTINGS).complete(CHATS[:1], 0.0)
        assert len(server.requests) == 1


def test_tokens_that_are_not_reported_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer([Answer(raw=completion("x", usage=None))]) as server:
        policy = EndpointPolicy("m", server.url, SETTINGS)
        for _ in range(2):
            assert policy.complete(CHATS[:2], 0.0) == [Completion("x", None, None)] * 2
    assert caplog.text.count("gave no token counts (usage) for 2 of 2 completions") == 1
