"""The evolution with scripted reflectors and a scripted policy: accounting, fates, order, ends."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2o.core.evolve import (
    Evolution,
    EvolveConfig,
    EvolveProgress,
    ReflectionJob,
    Reply,
    evolve,
)
from p2o.core.samples import Rollout, RolloutFn, Sample
from p2o.errors import ConfigError, DataError, StateError
from p2o.reflectors import BatchReflector, CallableReflector


def make(n: int, start: int = 0) -> list[Sample]:
    return [
        Sample(
            f"s{i}",
            [{"role": "user", "content": f"Riddle {i}: what is {7001 + 13 * i} plus nothing?"}],
            str(7001 + 13 * i),
        )
        for i in range(start, start + n)
    ]


def chance(*what: object) -> float:
    return int(hashlib.sha256(repr(what).encode()).hexdigest()[:8], 16) / 2**32


class Policy:
    """Solves a sample with a chance that grows with the level written in the template."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def __call__(self, pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        self.calls.append([(t, s.id) for t, s in pairs])
        return [self.one(t, s) for t, s in pairs]

    def one(self, template: str, sample: Sample) -> Rollout:
        level = template.count("!") / 10
        solved = chance(template, sample.id) < level
        return Rollout(f"out of {sample.id}", float(solved), solved, "Use the form.", 5, 2)


class Climber:
    """Proposes the parent's text with one more "!" and a mark of its own."""

    def __init__(self, bad: Sequence[Reply] = (), share: float = 0.0) -> None:
        self.jobs: list[list[ReflectionJob]] = []
        self.bad, self.share = bad, share

    def __call__(self, jobs: Sequence[ReflectionJob]) -> list[Reply]:
        self.jobs.append(list(jobs))
        out = []
        for job in jobs:
            if self.bad and chance(job.seed) < self.share:
                out.append(self.bad[job.seed % len(self.bad)])
            else:
                mark = "".join("abcdefghij"[int(d)] for d in str(job.seed))
                level = job.template.count("!") + 1
                out.append(Reply(f"```\nWord {mark} {'!' * level}\n```", None, 30, 4))
        return out


def run(
    tmp: Path, policy: RolloutFn, reflector: object, n_train: int = 24, n_dev: int = 10, **options: object
) -> Evolution:
    seeds = options.pop("seeds", ("",))
    progress = options.pop("progress", None)
    config = EvolveConfig(**{"budget": 600, "parents": 4, **options})  # type: ignore[arg-type]
    samples = make(n_train + n_dev)
    return evolve(
        samples[n_dev:], samples[:n_dev], policy, reflector, config, tmp, progress, seeds  # type: ignore[arg-type]
    )  # fmt: skip


def check(e: Evolution, policy: Policy) -> None:
    """What must hold for every evolution."""
    pairs = [p for call in policy.calls for p in call]
    assert len(set(pairs)) == len(pairs), "nothing is scored twice"
    assert e.cost.metric_calls == sum(e.cost.rollouts.values()) == len(pairs) <= e.budget
    assert e.cost.generation_calls == len(policy.calls) <= 1 + 3 * (len(e.best_scores) - 1)
    assert e.cost.prompt_tokens == 5 * len(pairs)
    assert e.cost.completion_tokens == 2 * len(pairs)
    assert [c.id for c in e.candidates] == list(range(len(e.candidates)))
    pool = [c for c in e.candidates if c.fate in ("seed", "accepted")]
    assert e.templates == [c.template for c in pool]
    assert len(set(e.templates)) == len(e.templates)
    assert e.best_scores == sorted(e.best_scores)
    for c, scores, solved, parent in zip(pool, e.scores_CV, e.solved_CV, e.parents, strict=True):
        assert len(scores) == len(solved) == len(e.dev_ids)
        assert c.dev_mean == pytest.approx(sum(scores) / len(scores))
        assert (parent is None) == (c.fate == "seed")
        if parent is not None:
            assert pool[parent].id == c.parent
            assert pool[parent].iteration < c.iteration
    for c in e.candidates:
        if c.fate == "accepted":
            assert sum(c.scores) > sum(c.parent_scores)
        if c.fate == "rejected":
            assert sum(c.scores) <= sum(c.parent_scores)
        if c.fate in ("duplicate", "leak", "empty", "no_fence", "no_reply", "too_long"):
            assert c.scores == []
            assert c.reason
    again = Evolution.from_dict(json.loads(json.dumps(e.to_dict())))
    assert again == e


def test_climbs_and_keeps_account(tmp_path: Path) -> None:
    policy, climber, seen = Policy(), Climber(), list[EvolveProgress]()
    state = random.getstate()
    e = run(tmp_path, policy, climber, progress=seen.append)
    assert random.getstate() == state
    check(e, policy)
    assert e.best_scores[-1] > 0.3
    assert e.stopped == "budget"
    assert e.budget - e.cost.metric_calls < 3 + 3 + 10  # not even one more proposal could be paid
    assert e.cost.reflector_calls == sum(map(len, climber.jobs))
    assert e.cost.reflector_prompt_tokens == 30 * e.cost.reflector_calls
    assert [p.best_score for p in seen] == e.best_scores
    assert seen[-1].metric_calls == e.cost.metric_calls
    files = {p.name for p in tmp_path.iterdir()}
    assert files == {"inputs.json", "rollouts.jsonl", "replies.jsonl", "evolution.json"}  # no pickle


BAD = [Reply(""), Reply("Here it is."), Reply("<think>```x```"), Reply(None, "timeout"), Reply("```same !!```"),
       Reply("```\nThe answer is 7001.\n```"), Reply("```" + "long " * 900 + "```")]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(
    budget=st.integers(6, 400),
    parents=st.integers(1, 20),
    minibatch=st.integers(1, 5),
    n_train=st.integers(1, 14),
    n_dev=st.integers(1, 6),
    fill=st.booleans(),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seeds=st.sampled_from([("",), ("", "Warm!"), ("Warm!", "", "Warmer!!!", "The answer is 7001.")]),
)
def test_budget_is_never_overshot(
    budget: int, parents: int, minibatch: int, n_train: int, n_dev: int, fill: bool, seed: int,
    share: float, seeds: tuple[str, ...],
) -> None:  # fmt: skip
    policy = Policy()
    with tempfile.TemporaryDirectory() as folder:
        e = run(
            Path(folder), policy, Climber(BAD, share), n_train, n_dev, budget=budget, parents=parents,
            minibatch=minibatch, fill_proposals=fill, seed=seed, seeds=seeds,
        )  # fmt: skip
    check(e, policy)


def test_generation_calls_at_the_size_of_the_bar(tmp_path: Path) -> None:
    policy = Policy()
    e = run(tmp_path, policy, Climber(), 80, 40, budget=20_000, parents=16, max_iterations=6, fill_proposals=True)
    check(e, policy)
    assert len(e.best_scores) == 7
    assert len(policy.calls) <= 20


def test_parity_with_a_front_written_out(tmp_path: Path) -> None:
    """Dev scores by table: the front's weights decide the parents of the second iteration."""
    table = {"": [0, 0, 0, 0], "A": [1, 1, 0, 0], "B": [1, 0, 1, 0], "C": [0, 0, 0, 0]}
    drawn: list[str] = []

    def policy(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        out = []
        for t, s in pairs:
            i = int(s.id[1:])
            r = float(table[t][i]) if i < 4 else float(t != "")
            out.append(Rollout("", r, False))
        return out

    def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        if not drawn:
            drawn.append("")
            return [Reply(f"```{t}```") for t in "ABC"]
        drawn.extend(job.template for job in jobs)
        return [Reply(None, "off") for _ in jobs]

    e = run(tmp_path, policy, reflect, 40, 4, parents=3, fill_proposals=True, max_iterations=2)
    assert e.templates == ["", "A", "B", "C"]
    assert e.parents == [None, 0, 0, 0]
    assert e.scores_CV == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    # front: s0 {A, B}, s1 {A}, s2 {B}, s3 all four: weights 1, 3, 3, 1
    assert set(drawn[1:]) <= {"", "A", "B", "C"}
    assert len(set(drawn[1:])) == 3


def test_every_fate(tmp_path: Path) -> None:
    replies = iter(
        [
            Reply("<think>hm ```no```</think>```text\nGood!!!!!!!!!!\n```"), Reply("```Good!!!!!!!!!!```"),
            Reply(""), Reply("Sorry."), Reply("<think> never ends ```x```"), Reply("```" + "y" * 5000 + "```"),
            Reply(None, "rate_limit", reason="Slow down."), Reply("```Say 7001.```"), Reply("```weak```"),
            Reply("``` ```"),
            Reply("```\nSay:\n```\nx\n```\nEnd.\n```"), Reply("```\nfoo", reason="cut off"), Reply("Plain !!!!!!!!!!"),
        ]
    )  # fmt: skip

    def reflect(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [next(replies) for _ in jobs]

    policy = Policy()
    e = run(tmp_path, policy, reflect, 39, parents=13, fill_proposals=True, max_iterations=1)
    assert [c.fate for c in e.candidates] == [
        "seed", "accepted", "duplicate", "empty", "no_fence", "unclosed_reasoning", "too_long", "no_reply",
        "leak", "rejected", "empty", "ambiguous", "no_fence", "accepted",
    ]  # fmt: skip
    assert e.fates["empty"] == 2
    assert e.cost.reflector_failures == {"rate_limit": 1}
    assert e.cost.rollouts == {"seeds": 10, "parents": 39, "children": 9, "dev": 20}
    assert e.cost.reflector_reasons == {"rate_limit": "Slow down."}
    assert e.candidates[7].reason == "rate_limit: Slow down."
    assert "7001" in e.candidates[8].reason
    assert "(cut off)" in e.candidates[12].reason
    check(e, policy)


def test_a_reflector_that_is_down_ends_the_evolution_loudly(tmp_path: Path) -> None:
    def broken(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        raise RuntimeError("engine gone\x1b[2J, api_key=abcdef123456" + " ." * 1000)

    e = run(tmp_path, Policy(), broken, fill_proposals=True)
    assert e.stopped == "reflector"
    assert len(e.best_scores) == 1 + 3
    assert "3 iterations in a row" in e.warnings[0]
    assert set(e.cost.reflector_failures) == {"RuntimeError"}
    assert "RuntimeError (RuntimeError: engine gone, api_key=***" in e.warnings[0]
    assert len(e.cost.reflector_reasons["RuntimeError"]) == 200
    written = "".join(p.read_text() for p in tmp_path.iterdir())
    assert "abcdef123456" not in written
    assert "\\u001b" not in written


@pytest.mark.parametrize(
    ("gave", "kind", "reason"),
    [
        (None, "no_replies", "gave a NoneType where 1 replies are due"),
        ("```x```", "no_replies", "gave a str where"),
        ([], "no_replies", "gave 0 replies where 1"),
        (["```x```"], "no_reply", "gave a str where a Reply is due"),
        ([Reply(["x"])], "no_text", "the text of the reply is a list"),  # type: ignore[arg-type]
        ([Reply("x" * 1_000_001)], "too_large", "1,000,001 characters"),
        ([Reply(None)], "no_text", "NoneType"),
    ],
)
def test_what_no_reflector_should_give(tmp_path: Path, gave: Any, kind: str, reason: str) -> None:
    e = run(tmp_path, Policy(), lambda jobs: gave, max_iterations=1)
    assert e.cost.reflector_failures == {kind: 1}
    assert reason in e.cost.reflector_reasons[kind]
    (tmp_path / "evolution.json").unlink()
    assert run(tmp_path, Policy(), lambda jobs: [], max_iterations=1) == e


def test_a_journal_of_strange_replies_does_not_end_later_runs(tmp_path: Path) -> None:
    run(tmp_path, Policy(), Climber(), max_iterations=1)
    (tmp_path / "evolution.json").unlink()
    stored = json.loads((tmp_path / "replies.jsonl").read_text())
    for text, tokens in [([1], 3), ({"a": 1}, "x"), (None, -1), ("```fine```", None)]:
        event = {**stored, "text": text, "prompt_tokens": tokens}
        (tmp_path / "replies.jsonl").write_text(json.dumps(event) + "\n")
        e = run(tmp_path, Policy(), Climber(), max_iterations=1)
        assert e.cost.reflector_calls == 1
        (tmp_path / "evolution.json").unlink()
        (tmp_path / "rollouts.jsonl").unlink()
    (tmp_path / "replies.jsonl").write_text('{"iteration": 1}\n')
    with pytest.raises(StateError, match=r"replies\.jsonl, line 1 is not a reply"):
        run(tmp_path, Policy(), Climber(), max_iterations=1)


def test_no_endless_loop_when_nothing_new_comes(tmp_path: Path) -> None:
    e = run(tmp_path, Policy(), CallableReflector(lambda p: "```same```"), 3, 2, budget=500)
    assert e.stopped == "idle"
    assert e.warnings


def test_solved_minibatches_are_not_reflected_on(tmp_path: Path) -> None:
    climber = Climber()
    e = run(tmp_path, Policy(), climber, seeds=("ok!!!!!!!!!!",), max_iterations=2)
    assert climber.jobs == []
    assert e.cost.perfect_minibatches == 2


def test_a_template_is_never_scored_on_a_sample_whose_answer_it_holds(tmp_path: Path) -> None:
    policy = Policy()
    samples = [replace(s, answer=str(i % 7)) for i, s in enumerate(make(30))]
    reflector = CallableReflector(lambda prompt: f"```Go by 3 and 5 {'!' * 10} {len(prompt)}```")
    config = EvolveConfig(budget=300, max_iterations=3, parents=2)
    e = evolve(samples[10:], samples[:10], policy, reflector, config, tmp_path)
    answers = {s.id: s.answer for s in samples}
    assert len(e.templates) > 1
    assert all(answers[i] not in ("3", "5") for call in policy.calls for t, i in call if t)
    row = e.scores_CV[1]
    assert row[3] == row[5] == 0.0
    assert not e.solved_CV[1][3]
    assert e.cost.leaked_scores > 0


def test_warm_start_scores_all_seeds_in_one_call(tmp_path: Path) -> None:
    policy = Policy()
    e = run(tmp_path, policy, Climber(), seeds=("Warm!!", "", "Warm!!", "Say 7001."), max_iterations=1)
    check(e, policy)
    assert len(policy.calls[0]) == 20
    assert e.templates[:2] == ["Warm!!", ""]
    assert e.fates["leak"] == 1


def test_seeds_beyond_the_budget_are_left_out_with_a_warning(tmp_path: Path) -> None:
    e = run(tmp_path, Policy(), Climber(), seeds=("a", "b", "c"), budget=25)
    assert e.templates == ["a", "b"]
    assert "2 of 3 seeds" in e.warnings[0]
    with pytest.raises(ConfigError, match="does not pay"):
        run(tmp_path / "new", Policy(), Climber(), budget=9)


def test_finished_and_foreign_folders(tmp_path: Path) -> None:
    first = run(tmp_path, Policy(), Climber(), max_iterations=2)
    policy = Policy()
    assert run(tmp_path, policy, Climber(), max_iterations=2) == first
    assert policy.calls == []
    with pytest.raises(StateError, match="other samples, seeds or settings"):
        run(tmp_path, Policy(), Climber(), max_iterations=3)
    (tmp_path / "evolution.json").write_text('{"schema": 99}')
    with pytest.raises(StateError, match="schema 99"):
        run(tmp_path, Policy(), Climber(), max_iterations=2)


def test_bad_input(tmp_path: Path) -> None:
    samples = make(4)
    config = EvolveConfig(budget=50)
    with pytest.raises(DataError, match="dev part"):
        evolve(samples, [], Policy(), Climber(), config, tmp_path)
    with pytest.raises(DataError, match="'s0' occurs twice"):
        evolve([samples[0], samples[0]], samples, Policy(), Climber(), config, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        evolve(samples[:2], samples[2:], Policy(), Climber(), config, tmp_path / "file")


def test_rewards_that_are_not_finite_count_as_zero(tmp_path: Path) -> None:
    def policy(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        return [Rollout("", float("nan"), False) for _ in pairs]

    e = run(tmp_path, policy, Climber(), max_iterations=1)
    assert e.scores_CV[0] == [0.0] * 10
    assert any("not finite" in w for w in e.warnings)


def test_rollouts_without_room_are_counted_also_after_a_resume(tmp_path: Path) -> None:
    def policy(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        return [Rollout("", 0.0, False, "", 0, 0, fits=len(t) < 5) for t, _ in pairs]

    e = run(tmp_path, policy, Climber(), max_iterations=1)
    assert e.cost.no_room == e.cost.rollouts["children"] == 3
    assert e.warnings == ["3 of 16 rollouts had no room for a completion and count as 0."]
    (tmp_path / "evolution.json").unlink()
    assert run(tmp_path, lambda pairs: [], Climber(), max_iterations=1) == e


def test_errors_of_the_policy_are_not_swallowed(tmp_path: Path) -> None:
    def policy(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        raise KeyError("engine gone")

    with pytest.raises(KeyError):
        run(tmp_path, policy, Climber())
    with pytest.raises(ValueError, match="0 rollouts for 10 pairs"):
        run(tmp_path, lambda pairs: [], Climber())


def test_a_failure_while_asking_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("p2o.core.evolve.pipeline.Asker.ask", full)
    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, Policy(), Climber())


def test_batches_of_a_model(tmp_path: Path) -> None:
    sizes = []

    def generate(prompts: list[str]) -> list[str]:
        sizes.append(len(prompts))
        return [f"```Try {'!' * 9} {chr(97 + i)}```" for i, _ in enumerate(prompts)]

    run(tmp_path, Policy(), BatchReflector(generate), fill_proposals=True, max_iterations=1)
    assert sizes == [4]


def test_tokens_that_a_reflector_does_not_report_are_told(tmp_path: Path) -> None:
    def silent(jobs: Sequence[ReflectionJob]) -> list[Reply]:
        return [replace(reply, prompt_tokens=None, completion_tokens=None) for reply in Climber()(jobs)]

    e = run(tmp_path, Policy(), silent)
    assert e.cost.unmeasured_replies == e.cost.reflector_calls > 0
    assert any("came without a count of their tokens" in warning for warning in e.warnings)
    told = run(tmp_path / "told", Policy(), Climber())
    assert told.cost.unmeasured_replies == 0
    assert not any("tokens" in warning for warning in told.warnings)
