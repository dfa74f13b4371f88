"""The OpenAI-compatible reflector against a server that misbehaves on command."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2o.core.evolve import Evolution, EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.samples import Rollout, Sample
from p2o.errors import ReflectorError
from p2o.reflectors import OpenAIReflector
from p2o.reflectors.wire import MAX_BYTES
from servers import Answer, ScriptedServer, closed_port_url, completion

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLECTOR_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def jobs(n: int = 1) -> list[ReflectionJob]:
    return [ReflectionJob(f"parent {i}", [], i, f"prompt {i}") for i in range(n)]


def reflector(url: str, **options: object) -> OpenAIReflector:
    options = {"timeout": 20.0, "retries": 1, "api_key_env": "REFLECTOR_KEY", **options}
    return OpenAIReflector("m", url, **options)  # type: ignore[arg-type]


def test_asks_concurrently_and_keeps_the_order() -> None:
    with ScriptedServer(lambda prompt, n: Answer(f"re {prompt}", delay=0.1), key=KEY) as server:
        replies = reflector(server.url, concurrency=4, temperature=0.5, max_tokens=99)(jobs(8))
        assert replies == [Reply(f"re prompt {i}", None, 11, 7) for i in range(8)]
        assert 1 < server.most_at_once <= 4
        assert server.requests[0]["temperature"] == 0.5
        assert server.requests[0]["max_tokens"] == 99


def test_options_may_be_left_to_the_endpoint() -> None:
    with ScriptedServer([Answer("x")]) as server:
        reflector(server.url, temperature=None, max_tokens=None, api_key_env=None)(jobs())
        assert set(server.requests[0]) == {"messages", "model"}


@pytest.mark.parametrize(
    ("first", "kind", "reason", "calls"),
    [
        (Answer(status=429), "rate_limit", "HTTP 429: no: Bearer ***", 2),
        (Answer(status=500), "server_error", "HTTP 500", 2),
        (Answer(status=503), "server_error", "HTTP 503", 2),
        (Answer(delay=1.0), "timeout", "no whole answer within 0.3 s", 2),
        (Answer(drip=0.02), "timeout", "no whole answer within 0.3 s", 2),
        (Answer(drop=True), "connection", "disconnected", 2),
        (Answer(status=401), "auth", "HTTP 401", 1),
        (Answer(status=400), "http_400", "HTTP 400: no: Bearer ***", 1),
        (Answer(status=400, raw=b'{"detail": [{"msg": "n is \x1b[2Jtoo large"}]}'), "http_400", "n is", 1),
        (Answer(status=404, raw=b"<html>not here</html>"), "http_404", "not here", 1),
        (Answer(raw=b"{not json"), "bad_reply", "the answer is not JSON: {not json", 1),
        (Answer(raw=b""), "bad_reply", "the answer is empty", 1),
        (Answer(raw=b"[" * 100_000), "bad_reply", "the answer is not JSON", 1),
        (Answer(raw=b"\xff\xfe\xfa"), "bad_reply", "the answer is not JSON", 1),
        (Answer(raw=b'{"choices": []}'), "bad_reply", "holds no message", 1),
        (Answer(raw=b'{"error": {"message": "model m is asleep"}}'), "bad_reply", "model m is asleep", 1),
        (Answer(raw=b"[1]"), "bad_reply", "holds no message", 1),
        (Answer(raw=completion(17)), "bad_reply", "the content of the message is no text but of type int", 1),
        (Answer(raw=completion(None, refusal="I will not.")), "refusal", "I will not.", 1),
        (Answer(headers={"Content-Encoding": "zstd"}), "bad_reply", "packed as 'zstd'", 1),
        (Answer(headers={"Content-Encoding": "gzip"}), "bad_reply", "cannot be unpacked", 1),
    ],
)
def test_faults(first: Answer, kind: str, reason: str, calls: int) -> None:
    timeout = 0.3 if first.delay or first.drip else 20.0
    with ScriptedServer([first]) as server:
        reply = reflector(server.url, timeout=timeout)(jobs())[0]
        assert (reply.text, reply.error) == (None, kind)
        assert reason in reply.reason
        assert len(reply.reason) <= 200
        assert reply.reason.isprintable()
        assert KEY not in repr(reply)
        assert len(server.requests) == calls
    if calls > 1:  # what is retried, gets through when the fault goes away
        with ScriptedServer([first, Answer("fine")]) as server:
            assert reflector(server.url, timeout=max(timeout, 0.9))(jobs())[0].text == "fine"


def test_refused_connection() -> None:
    reply = reflector(closed_port_url())(jobs())[0]
    assert (reply.error, bool(reply.reason)) == ("connection", True)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], "a b"),
        (["a ", {"type": "image_url"}, {"type": "text", "text": None}, 3, "b"], "a b"),
        ([], ""),
        ("lone \ud800", "lone \ud800"),
    ],
)
def test_content_in_every_form(content: object, text: str) -> None:
    with ScriptedServer([Answer(raw=completion(content))]) as server:
        ask = reflector(server.url)
        ask.takes_schema = False  # an empty reply is not asked for again
        assert ask(jobs())[0] == Reply(text, None, 11, 7)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None)),
        ("many", (None, None)),
        ([], (None, None)),
        ({}, (None, None)),
        ({"prompt_tokens": "11", "completion_tokens": None}, (None, None)),
        ({"prompt_tokens": 3.0, "completion_tokens": -1}, (3, None)),
        ({"prompt_tokens": True, "completion_tokens": 10**400}, (None, None)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, (None, None)),
        ({"prompt_tokens": {"a": 1}, "completion_tokens": 2}, (None, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None)),  # of a server that does not count
    ],
)
def test_usage_in_every_form(usage: object, counts: tuple[int | None, int | None]) -> None:
    with ScriptedServer([Answer(raw=completion("x", usage=usage))]) as server:
        assert reflector(server.url)(jobs())[0] == Reply("x", None, *counts)


def test_a_reply_that_was_cut_off_says_so() -> None:
    with ScriptedServer([Answer(raw=completion("```\nThink", finish_reason="length"))]) as server:
        assert "cut off" in reflector(server.url)(jobs())[0].reason


def refusing(**named: str) -> Callable[[ScriptedServer], Callable[[str, int], Answer]]:
    """A server that refuses options, each with a message of its own."""

    def script(server: ScriptedServer) -> Callable[[str, int], Answer]:
        def answer(prompt: str, number: int) -> Answer:
            for option, message in named.items():
                if option in server.requests[number]:
                    return Answer(status=400, raw=json.dumps({"error": {"message": message}}).encode())
            return Answer("fine")

        return answer

    return script


MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) is supported."
)


@pytest.mark.parametrize(
    ("refused", "sent", "calls"),
    [
        ({"max_tokens": MAX_TOKENS}, {"max_completion_tokens": 99, "temperature": 0.5}, 2),
        ({"temperature": TEMPERATURE}, {"max_tokens": 99}, 2),
        ({"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}, {"max_completion_tokens": 99}, 3),
    ],
)
def test_teachers_that_take_other_options(refused: dict[str, str], sent: dict[str, object], calls: int) -> None:
    with ScriptedServer([]) as server:
        server.script = refusing(**refused)(server)
        ask = reflector(server.url, temperature=0.5, max_tokens=99, retries=0)
        assert ask(jobs())[0].text == "fine"
        assert len(server.requests) == calls
        assert {n: v for n, v in server.requests[-1].items() if n not in ("messages", "model")} == sent
        assert ask(jobs())[0].text == "fine"
        assert len(server.requests) == calls + 1  # it is remembered


def test_what_stays_refused_is_told() -> None:
    too_long = "max_tokens is too large: 4096. This model's maximum context length is 2048 tokens."
    with ScriptedServer([]) as server:
        server.script = refusing(max_tokens=too_long, max_completion_tokens=too_long)(server)
        reply = reflector(server.url)(jobs())[0]
        assert (reply.error, reply.reason) == ("http_400", f"HTTP 400: {too_long}")
        assert len(server.requests) == 1  # the option is known, its value is the trouble


def test_a_redirect_to_another_server_gets_no_prompt() -> None:
    with ScriptedServer([Answer("stolen")]) as other:
        for status in (301, 302, 303, 307, 308):
            target = f"{other.url}/chat/completions?key=abc"
            with ScriptedServer([Answer(status=status, headers={"Location": target})]) as server:
                reply = reflector(server.url)(jobs())[0]
            assert reply.error == "redirect"
            assert f"{other.url}/chat/completions, which gets no prompt" in reply.reason
        assert other.requests == []


def test_a_redirect_on_the_same_server_is_followed_some_times() -> None:
    with ScriptedServer([Answer(status=307, headers={"Location": "/v2/chat"}), Answer("fine")]) as server:
        assert reflector(server.url)(jobs())[0].text == "fine"
        assert server.requests[0] == server.requests[1]
    with ScriptedServer([Answer(status=307, headers={"Location": "/again"})]) as server:
        assert reflector(server.url)(jobs())[0].error == "redirect"
        assert len(server.requests) == 4


BOMB = zlib.compressobj(9, zlib.DEFLATED, 31)
BOMB_BYTES = BOMB.compress(b"0" * 200_000_000) + BOMB.flush()  # 200 kB that unpack to 200 MB


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    "huge",
    [
        Answer(raw=b"0" * 2**20, times=200),
        Answer(raw=BOMB_BYTES, headers={"Content-Encoding": "gzip"}),
    ],
    ids=["long", "gzip bomb"],
)
def test_a_huge_answer_is_cut_short(huge: Answer, status: int) -> None:
    import tracemalloc

    with ScriptedServer([Answer(**{**vars(huge), "status": status})]) as server:
        tracemalloc.start()
        reply = reflector(server.url)(jobs())[0]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (reply.error, reply.reason) == ("too_large", "the answer is longer than 8 MiB")
    assert peak < 6 * MAX_BYTES


def test_a_packed_answer_is_read() -> None:
    packed = gzip.compress(completion("fine"))
    with ScriptedServer([Answer(raw=packed, headers={"Content-Encoding": "gzip"})]) as server:
        assert reflector(server.url)(jobs())[0].text == "fine"


def test_every_wait_has_an_end() -> None:
    """Retries and pauses included; and what the server asks to wait."""
    for answer, retries in [
        (Answer(drip=0.2), 2), (Answer(delay=30.0), 2), (Answer(status=429, headers={"Retry-After": "3600"}), 2),
        (Answer(status=503), 5), (Answer(status=429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}), 5),
    ]:  # fmt: skip
        with ScriptedServer([answer]) as server:
            start = time.monotonic()
            replies = reflector(server.url, timeout=0.5, retries=retries, concurrency=4)(jobs(4))
            assert time.monotonic() - start < 0.5 * (1 + retries) + 2
            assert all(reply.error in ("timeout", "rate_limit", "server_error") for reply in replies)


HANGING = """
import signal, sys
from p2o.core.evolve import ReflectionJob
from p2o.reflectors import OpenAIReflector
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("asking", flush=True)
OpenAIReflector("m", sys.argv[1], timeout=60.0)([ReflectionJob("", [], 0, "x")] * 3)
"""


def test_a_signal_ends_the_process_while_it_waits() -> None:
    with ScriptedServer([Answer(drip=0.3)]) as server:
        process = subprocess.Popen([sys.executable, "-c", HANGING, server.url], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        while not server.requests:
            time.sleep(0.05)
        start = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=10) == 143
        assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set"),
        ({"base_url": "localhost:8000/v1"}, "'localhost:8000/v1'; it must begin with http:// or https://"),
        ({"base_url": "http://"}, "name a host"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout": 0.0}, "timeout 0"),
        ({"retries": -1}, "retries -1"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, object], says: str) -> None:
    with pytest.raises(ReflectorError, match=re.escape(says)):
        OpenAIReflector("m", **{"base_url": "http://127.0.0.1/v1", **options})  # type: ignore[arg-type]


def test_a_password_in_the_url_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([Answer(status=400, raw=b"bad: pass-word-1 in /v1?api-key=key-in-query")]) as server:
        url = server.url.replace("://", "://user:pass-word-1@") + "?api-key=key-in-query"
        ask = reflector(url)
        reply = ask(jobs())[0]
    assert "HTTP 400: bad: ***" in reply.reason
    assert "HTTP Request" in caplog.text
    for text in (repr(reply), repr(ask), repr(ask.chat), caplog.text):
        assert "pass-word-1" not in text
        assert "key-in-query" not in text


def _evolve(url: str, tmp_path: Path, **options: object) -> Evolution:
    def rollout(pairs: list[tuple[str, Sample]]) -> list[Rollout]:
        return [Rollout("", float("good" in t), "good" in t, "", 9, 1) for t, _ in pairs]

    samples = [Sample(f"s{i}", [{"role": "user", "content": f"Riddle {i}"}]) for i in range(12)]
    config = EvolveConfig(budget=200, parents=8, minibatch=1, fill_proposals=True, max_template_chars=60, **options)  # type: ignore[arg-type]
    return evolve(samples[4:], samples[:4], rollout, reflector(url, retries=0, timeout=5.0), config, tmp_path)  # type: ignore[arg-type]


def test_an_evolution_goes_on_with_what_it_has(tmp_path: Path) -> None:
    script = [
        Answer("```good```"), Answer(""), Answer("```\nno end"), Answer("<think>```x```"),
        Answer("```" + "x " * 50 + "```"), Answer(status=500), Answer(status=429), Answer(delay=8.0),
    ]  # fmt: skip
    with ScriptedServer([]) as server:
        server.script = lambda prompt, n: Answer(status=400) if "response_format" in server.requests[n] else script[n]
        e = _evolve(server.url, tmp_path, max_iterations=1)
    assert e.fates == {
        "seed": 1, "accepted": 1, "empty": 1, "no_fence": 1, "unclosed_reasoning": 1, "too_long": 1,
        "no_reply": 3,
    }  # fmt: skip
    assert e.cost.reflector_failures == {"server_error": 1, "rate_limit": 1, "timeout": 1}
    assert e.cost.rollouts["children"] == 1
    assert e.templates == ["", "good"]
    assert "1× rate_limit (HTTP 429: no: Bearer ***)" in e.warnings[-1]
    assert {c.reason for c in e.candidates if c.fate == "no_reply"} >= {"rate_limit: HTTP 429: no: Bearer ***"}


def strange() -> Iterator[Answer]:
    yield Answer(raw=completion("```good```", usage={"prompt_tokens": "x", "completion_tokens": [1]}))
    yield Answer(raw=completion([{"type": "text", "text": "```good too```"}], usage=None))
    yield Answer(raw=completion({"text": "```good```"}))
    yield Answer(raw=completion("```good \ud800 \x00 \x1b]52;c;aGk=\x07 three```", usage={"prompt_tokens": 10**400}))


def test_no_answer_breaks_this_run_or_a_later_one_in_the_folder(tmp_path: Path) -> None:
    answers = list(strange())
    with ScriptedServer(lambda prompt, n: answers[n % len(answers)]) as server:
        first = _evolve(server.url, tmp_path, max_iterations=2)
        (tmp_path / "evolution.json").unlink()
        asked = len(server.requests)
        again = _evolve(server.url, tmp_path, max_iterations=2)
        assert len(server.requests) == asked
    assert again == first
    assert {"good", "good too"} < set(first.templates)


def test_a_wrong_key_ends_loudly_and_is_written_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([Answer("x")], key="another") as server:
        e = _evolve(server.url, tmp_path)
        shown = repr(reflector(server.url)) + repr(vars(reflector(server.url)))
    assert e.stopped == "reflector"
    assert e.cost.reflector_failures == {"auth": 24}
    assert "24× auth (HTTP 401: no: Bearer ***)" in e.warnings[0]
    assert "evolution ended early" in caplog.text
    out = capfd.readouterr()
    written = "".join(p.read_text() for p in tmp_path.iterdir())
    for text in (written, caplog.text, out.out, out.err, shown, repr(e)):
        assert KEY not in text
