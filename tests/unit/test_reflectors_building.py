"""From settings to a reflector, and what is said when that cannot be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from p2o.core.evolve import ReflectionJob, Reply
from p2o.errors import ConfigError, ReflectorError
from p2o.reflectors import BatchReflector, CallableReflector, OpenAIReflector, PhrasesReflector, TimedReflector
from p2o.reflectors.building import build_reflector, with_deadline
from p2o.reflectors.settings import ReflectorSettings
from p2o.runs.recipe import RecipeConfig
from p2o.verl.settings import VerlSettings

JOB = ReflectionJob("", [], 0, "the prompt")


def settings(**values: object) -> ReflectorSettings:
    return ReflectorSettings(**values)  # type: ignore[arg-type]


def test_recipes_and_verl_take_names_and_defaults_from_one_place() -> None:
    own = {f.name: f.default for f in fields(ReflectorSettings)}
    for kind in (RecipeConfig, VerlSettings):
        theirs = {f.name: f.default for f in fields(kind) if f.name.startswith("reflector")}
        assert theirs.keys() == own.keys()
        assert {n: v for n, v in theirs.items() if n != "reflector"} == {n: own[n] for n in own if n != "reflector"}
    assert VerlSettings(num_generations=4).reflector == "policy"  # verl has no generation with the starting weights


def test_each_kind_gets_its_settings() -> None:
    assert build_reflector(settings(reflector="self")) == "self"
    assert build_reflector(settings(reflector="policy")) == "policy"
    phrases = build_reflector(settings(reflector="phrases", reflector_phrases=["Be brief."], reflector_max_phrases=3))
    assert isinstance(phrases, PhrasesReflector)
    assert (phrases.bank, phrases.max_phrases) == (("Be brief.",), 3)
    endpoint = build_reflector(settings(
        reflector="openai", reflector_model="m", reflector_base_url="http://x/v1", reflector_temperature=0.6,
        reflector_max_tokens=None, reflector_timeout=9.0, reflector_retries=1, reflector_concurrency=2,
    ))  # fmt: skip
    assert isinstance(endpoint, OpenAIReflector)
    assert endpoint.options == {"temperature": 0.6}
    assert (endpoint.chat.timeout, endpoint.chat.retries, endpoint.chat.concurrency) == (9.0, 1, 2)


@pytest.mark.parametrize(
    ("source", "spec", "says"),
    [
        ("def reflect(prompt): return 1", "reflekt", "has no function 'reflekt' (did you mean reflect?)"),
        ("f = 3", "f", "has no function 'f'"),
        ("import nothing_of_that_name", "f", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise KeyError('private')", "f", "KeyError"),
        ("raise SystemExit(1)", "f", "SystemExit"),
        ("def f(", "f", "SyntaxError"),
    ],
)
def test_a_function_that_cannot_be_loaded(tmp_path: Path, source: str, spec: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        build_reflector(settings(reflector=f"{tmp_path}/mine.py:{spec}"))
    assert says in str(caught.value)
    assert str(caught.value).startswith("reflector: ")


def test_a_name_without_a_meaning() -> None:
    with pytest.raises(ConfigError, match="use self, policy, openai, phrases, or module:function"):
        build_reflector(settings(reflector="gpt"))
    with pytest.raises(ConfigError, match="reflector_model"):
        build_reflector(settings(reflector="openai"))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def f(): return ''", "too many positional arguments"),
        ("def f(prompt, feedback): return ''", "missing a required argument: 'feedback'"),
        ("def f(*, prompt): return ''", "too many positional arguments"),
    ],
)
def test_a_function_that_does_not_take_one_text_is_refused_at_once(source: str, why: str) -> None:
    names: dict[str, object] = {}
    exec(source, names)
    with pytest.raises(ReflectorError, match="takes the prompt and returns the reply") as caught:
        CallableReflector(names["f"])  # type: ignore[arg-type]
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("value", "type_name"), [(None, "NoneType"), (["a", "b"], "list"), (Reply("x"), "Reply"), (b"x", "bytes")]
)
def test_a_function_that_returns_no_text_is_told_so(value: object, type_name: str) -> None:
    reply = CallableReflector(lambda prompt: value)([JOB])[0]  # type: ignore[arg-type, return-value]
    assert (reply.text, reply.error) == (None, "no_text")
    assert reply.reason == f"the function returned {type_name}, not text"


def test_a_function_that_does_not_return_costs_one_deadline_and_fails_its_batch() -> None:
    called: list[str] = []

    def write(prompt: str) -> str:
        called.append(prompt)
        if prompt == "hang":
            threading.Event().wait()
        if prompt == "late":  # an error of the function's own, not the deadline's
            raise TimeoutError("the model is busy")
        return "new"

    reflector = CallableReflector(write, timeout=0.3)
    start = time.monotonic()
    replies = reflector([ReflectionJob("", [], 0, prompt) for prompt in ("a", "late", "hang", "b", "c")])
    assert time.monotonic() - start < 2
    assert called == ["a", "late", "hang"]
    assert [r.error for r in replies] == [None, "TimeoutError", "timeout", "timeout", "timeout"]
    assert "did not return within 0.3 s (reflector_timeout)" in replies[2].reason
    assert "not called" in replies[3].reason
    assert reflector([ReflectionJob("", [], 0, "d")])[0].text == "new"


def test_a_function_has_the_deadline_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def write(prompt): return prompt")
    built = build_reflector(settings(reflector=f"{tmp_path / 'mine.py'}:write", reflector_timeout=7.0))
    assert isinstance(built, CallableReflector)
    assert built.timeout == 7


@pytest.mark.parametrize("make", [lambda f: with_deadline(f), lambda f: BatchReflector(f)])
def test_an_object_that_takes_a_batch_has_a_total_deadline(make: Callable[..., TimedReflector]) -> None:
    def write(jobs: Sequence[object]) -> list[Reply]:
        if len(jobs) > 1:
            threading.Event().wait()
        return [Reply("new")]

    reflector = make(write)
    assert reflector.timeout == 120
    reflector.timeout = 0.2
    start = time.monotonic()
    replies = reflector([JOB] * 3)
    assert 0.5 < time.monotonic() - start < 2
    assert {(r.text, r.error) for r in replies} == {(None, "timeout")}
    assert replies[0].reason == "the reflector did not return within 0.6 s (0.2 s for each of 3 jobs)"
    assert reflector([JOB]) == [Reply("new")]


def test_reflectors_that_have_deadlines_get_no_second_one() -> None:
    for reflector in ("self", PhrasesReflector(), CallableReflector(str), TimedReflector(PhrasesReflector(), 5)):
        assert with_deadline(reflector) is reflector


def test_what_an_object_raises_is_its_own_error() -> None:
    def busy(jobs: Sequence[object]) -> list[Reply]:
        raise TimeoutError("the model is busy")

    with pytest.raises(TimeoutError, match="the model is busy"):
        TimedReflector(busy)([JOB])


def test_a_function_that_exits_does_not_end_the_run() -> None:
    def leave(prompt: str) -> str:
        raise SystemExit(4)

    (reply,) = CallableReflector(leave)([JOB])
    assert (reply.text, reply.error) == (None, "SystemExit")
    assert "SystemExit: 4" in reply.reason
