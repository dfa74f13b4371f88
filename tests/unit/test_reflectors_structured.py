"""The endpoint's second question, as JSON by a schema, and the different words of jobs with one parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from p2o.core.evolve import ReflectionJob, Reply
from p2o.core.evolve.prompt import reflection_prompt
from p2o.core.evolve.reading import read_reply
from p2o.reflectors import OpenAIReflector
from p2o.reflectors.endpoint import in_different_directions
from servers import Answer, ScriptedServer, completion

RECORDS = [("What is 2 + 2?", "It is 5", "Wrong answer.", 0.0)]
PARENT, PARTNER = "Be brief.", "Count twice."


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def job(seed: int = 0, parent: str = PARENT) -> ReflectionJob:
    prompt, _ = reflection_prompt(parent, RECORDS, 9000, PARTNER)
    return ReflectionJob(parent, RECORDS, seed, prompt, PARTNER)


def asks_for_json(body: dict[str, Any]) -> bool:
    return "response_format" in body


def serve(first: str, second: Answer | str) -> Callable[[ScriptedServer], ScriptedServer]:
    """A server that gives one answer to a plain question, and one to a question with a schema."""

    def scripted(server: ScriptedServer) -> ScriptedServer:
        answer = second if isinstance(second, Answer) else Answer(second)
        server.script = lambda prompt, n: answer if asks_for_json(server.requests[n]) else Answer(first)
        return server

    return scripted


def template(reply: Reply) -> str:
    return read_reply(reply.text or "", 1000)[0]


def test_the_prompt_holds_both_parents_and_the_evidence_and_leaves_the_model_free_to_think() -> None:
    with ScriptedServer([Answer("<think>Hm.</think>\n```\nCount slowly.\n```")]) as server:
        [reply] = OpenAIReflector("m", server.url)([job()])
        assert template(reply) == "Count slowly."
        [request] = server.requests
        assert not asks_for_json(request)
        for part in (PARENT, PARTNER, *RECORDS[0][:3]):
            assert part in request["messages"][0]["content"]


@pytest.mark.parametrize(
    "unusable",
    [
        "I think the model should count slowly.",  # talk
        "<think>Let me see. The model",  # thoughts that do not end
        f"```\n{PARENT}\n```",  # the parent as news
        f"```\n{PARTNER.upper()}\n```",
        "",
    ],
)
def test_an_unusable_reply_is_asked_for_again_by_a_schema(unusable: str) -> None:
    said = 'Use ```fences``` and "quotes".\nThen </think> stop.'.replace("</think> ", "")
    with ScriptedServer([]) as server:
        serve(unusable, json.dumps({"instruction": said}))(server)
        [reply] = OpenAIReflector("m", server.url)([job()])
        assert template(reply) == said
        assert (reply.prompt_tokens, reply.completion_tokens) == (22, 14) if unusable else (22, 7)
        schema = server.requests[1]["response_format"]
        assert schema["type"] == "json_schema"
        assert schema["json_schema"]["schema"]["required"] == ["instruction"]


def test_only_what_cannot_be_used_is_asked_for_again() -> None:
    with ScriptedServer([]) as server:
        server.script = lambda prompt, n: (
            Answer('{"instruction": "Count slowly."}')
            if asks_for_json(server.requests[n])
            else Answer("Sorry.") if "Be quick." in prompt else Answer("```\nBe calm.\n```")
        )  # fmt: skip
        replies = OpenAIReflector("m", server.url)([job(), job(1, "Be quick."), job(2, "Be slow.")])
        assert [template(r) for r in replies] == ["Be calm.", "Count slowly.", "Be calm."]
        assert [asks_for_json(r) for r in server.requests].count(True) == 1


def test_a_server_without_schemas_is_asked_for_one_once() -> None:
    refusal = Answer(status=400, raw=b'{"error": {"message": "response_format is not supported"}}')
    with ScriptedServer([]) as server:
        serve("Sorry.", refusal)(server)
        reflector = OpenAIReflector("m", server.url)
        for _ in range(3):
            [reply] = reflector([job()])
            assert (reply.text, reply.error) == ("Sorry.", None)
        assert [asks_for_json(r) for r in server.requests].count(True) == 1


def test_a_server_that_ignores_the_schema_may_answer_in_fences() -> None:
    with ScriptedServer([]) as server:
        serve("Sorry.", "```\nCount slowly.\n```")(server)
        assert template(OpenAIReflector("m", server.url)([job()])[0]) == "Count slowly."


@pytest.mark.parametrize("broken", ['{"instruction": "Count', '{"other": 1}', '{"instruction": 3}', "[1]", "{" * 5000])
def test_broken_json_is_no_template(broken: str) -> None:
    with ScriptedServer([]) as server:
        serve("Sorry.", Answer(raw=completion(broken, finish_reason="length")))(server)
        [reply] = OpenAIReflector("m", server.url)([job()])
        assert read_reply(reply.text or "", 1000)[1] == "no_fence" or template(reply) == "[1]"


def test_jobs_with_one_parent_are_asked_in_different_words() -> None:
    same = in_different_directions([job(n) for n in range(5)])
    assert len({j.prompt for j in same}) == 5
    assert same[0] == job(0)
    assert all(j.prompt.startswith(job().prompt) for j in same)
    parents = [job(n, f"Parent {n}.") for n in range(5)]
    assert in_different_directions(parents) == parents  # GEPA's own prompts stay as they are
