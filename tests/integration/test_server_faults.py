"""No wait on a server, by the reflector or a served policy, is longer than its deadline plus two seconds: 34 faults."""

from __future__ import annotations

import gzip
import time

import pytest

from p2o.core.evolve import ReflectionJob
from p2o.errors import ConfigError
from p2o.generation.policies import RETRIES, EndpointPolicy
from p2o.generation.settings import GenerationSettings
from p2o.reflectors import OpenAIReflector
from servers import Answer, ScriptedServer, completion

DEADLINE = 0.5
SLACK = 2.0

STATUSES = [Answer(status=s) for s in (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504)]
SLOW = [
    Answer(delay=20.0), Answer(drip=0.5), Answer(drip=0.1), Answer(status=500, drip=0.3),
    Answer(status=429, delay=20.0),
    Answer(raw=completion("x"), drip=0.2), Answer(status=302, headers={"Location": "/v1/chat/completions"}, drip=0.3),
]  # fmt: skip
WAITING = [
    Answer(status=429, headers={"Retry-After": "3600"}), Answer(status=503, headers={"Retry-After": "3600"}),
    Answer(status=429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
    Answer(status=429, headers={"Retry-After": "-1"}), Answer(status=429, headers={"Retry-After": "soon"}),
]  # fmt: skip
BROKEN = [
    Answer(drop=True), Answer(raw=b""), Answer(raw=b"{"), Answer(raw=b"[]"), Answer(raw=b"\xff\xfe"),
    Answer(raw=b'{"choices": []}'), Answer(headers={"Content-Length": "999999"}), Answer(raw=b"0" * 2**20, times=30),
    Answer(raw=gzip.compress(b"0" * 2**24), headers={"Content-Encoding": "gzip"}),
    Answer(status=307, headers={"Location": "http://192.0.2.1/v1/chat/completions"}),
]  # fmt: skip
FAULTS = [*STATUSES, *SLOW, *WAITING, *BROKEN]


def test_there_are_as_many_as_said() -> None:
    assert len(FAULTS) == 34


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
def test_a_reflector_waits_no_longer(fault: Answer) -> None:
    with ScriptedServer([fault]) as server:
        start = time.monotonic()
        replies = OpenAIReflector("m", server.url, timeout=DEADLINE, retries=0)([ReflectionJob("", [], 0, "x")] * 2)
        waited = time.monotonic() - start
    assert waited < DEADLINE + SLACK
    assert all(reply.text is not None or reply.error for reply in replies)


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
def test_a_served_policy_waits_no_longer_and_says_why(fault: Answer) -> None:
    with ScriptedServer([fault]) as server:
        policy = EndpointPolicy("m", server.url, GenerationSettings(8), timeout=DEADLINE)
        start = time.monotonic()
        said = ""
        try:
            policy.complete([[{"role": "user", "content": "x"}]] * 2, 0.0)
        except ConfigError as error:
            said = str(error)
        assert not said or "policy endpoint" in said
        assert time.monotonic() - start < DEADLINE * (1 + RETRIES) + SLACK
