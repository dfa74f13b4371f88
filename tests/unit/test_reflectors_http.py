"""The OpenAI-compatible reflector against a server that misbehaves on command."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from p2o.core.evolve import Evolution, EvolveConfig, ReflectionJob, Reply, evolve
from p2o.core.samples import Rollout, Sample
from p2o.errors import ReflectorError
from p2o.reflectors import OpenAIReflector
from servers import Answer, ScriptedServer, closed_port_url  # type: ignore[import-not-found]

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLECTOR_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def jobs(n: int = 1) -> list[ReflectionJob]:
    return [ReflectionJob("", [], i, f"prompt {i}") for i in range(n)]


def reflector(url: str, **options: object) -> OpenAIReflector:
    options = {"timeout": 5.0, "retries": 1, "api_key_env": "REFLECTOR_KEY", **options}
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
    ("first", "kind", "calls"),
    [
        (Answer(status=429), "rate_limit", 2),
        (Answer(status=500), "server_error", 2),
        (Answer(status=503), "server_error", 2),
        (Answer(delay=1.0), "timeout", 2),
        (Answer(drop=True), "connection", 2),
        (Answer(status=401), "auth", 1),
        (Answer(status=400), "http_400", 1),
        (Answer(raw=b"{not json"), "bad_reply", 1),
        (Answer(raw=b'{"choices": []}'), "bad_reply", 1),
    ],
)
def test_faults(first: Answer, kind: str, calls: int) -> None:
    timeout = 0.3 if first.delay else 5.0
    with ScriptedServer([first]) as server:
        reply = reflector(server.url, timeout=timeout)(jobs())[0]
        assert reply.text is None
        assert (reply.error or "").startswith(kind)
        assert KEY not in repr(reply)
        assert len(server.requests) == calls
    if calls > 1:  # what is retried, gets through when the fault goes away
        with ScriptedServer([first, Answer("fine")]) as server:
            assert reflector(server.url, timeout=timeout)(jobs())[0].text == "fine"


def test_refused_connection() -> None:
    assert reflector(closed_port_url())(jobs())[0] == Reply(None, "connection")


def test_an_empty_reply_is_a_text() -> None:
    with ScriptedServer([Answer(None)]) as server:
        assert reflector(server.url)(jobs())[0].text == ""


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(ReflectorError, match="NO_SUCH_KEY is not set"):
        OpenAIReflector("m", api_key_env="NO_SUCH_KEY")


def _evolve(url: str, tmp_path: Path, **options: object) -> Evolution:
    def rollout(pairs: list[tuple[str, Sample]]) -> list[Rollout]:
        return [Rollout("", float("good" in t), "good" in t) for t, _ in pairs]

    samples = [Sample(f"s{i}", [{"role": "user", "content": f"Riddle {i}"}]) for i in range(12)]
    config = EvolveConfig(budget=200, parents=8, minibatch=1, fill_proposals=True, max_template_chars=60, **options)  # type: ignore[arg-type]
    return evolve(samples[4:], samples[:4], rollout, reflector(url, retries=0, timeout=1.0), config, tmp_path)  # type: ignore[arg-type]


def test_an_evolution_goes_on_with_what_it_has(tmp_path: Path) -> None:
    script = [
        Answer("```good```"), Answer(""), Answer("no fence"), Answer("<think>```x```"),
        Answer("```" + "x " * 50 + "```"), Answer(status=500), Answer(status=429), Answer(delay=2.0),
    ]  # fmt: skip
    with ScriptedServer(lambda prompt, n: script[n % 8]) as server:
        e = _evolve(server.url, tmp_path, max_iterations=1)
    assert e.fates == {
        "seed": 1, "accepted": 1, "empty": 1, "no_fence": 1, "unclosed_reasoning": 1, "too_long": 1,
        "no_reply": 3,
    }  # fmt: skip
    assert e.cost.reflector_failures == {"server_error": 1, "rate_limit": 1, "timeout": 1}
    assert e.cost.rollouts["children"] == 1
    assert e.templates == ["", "good"]
    assert any("failed" in w for w in e.warnings)


def test_a_wrong_key_ends_loudly_and_is_written_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedServer([Answer("x")], key="another") as server:
        e = _evolve(server.url, tmp_path)
        shown = repr(reflector(server.url)) + repr(vars(reflector(server.url)))
    assert e.stopped == "reflector"
    assert e.cost.reflector_failures == {"auth": 24}
    assert "auth" in e.warnings[0]
    assert "evolution ended early" in caplog.text
    out = capfd.readouterr()
    written = "".join(p.read_text() for p in tmp_path.iterdir())
    for text in (written, caplog.text, out.out, out.err, shown, repr(e)):
        assert KEY not in text
