"""What ``p2o evolve --explain`` tells of an evolution."""

from __future__ import annotations

from pathlib import Path

from p2o.analysis.explain import difference, explained
from p2o.core.evolve import EvolveConfig, evolve
from p2o.core.samples import Rollout, Sample
from p2o.reflectors import CallableReflector

SAMPLES = [Sample(f"s{n}", [{"role": "user", "content": f"Riddle {n}?"}], f"answer-{n}") for n in range(12)]


def roll_out(pairs: list[tuple[str, Sample]]) -> list[Rollout]:
    """Samples with an even number need "Think." and the others nothing."""
    solved = ["Think." in template or int(s.id[1:]) % 2 == 1 for template, s in pairs]
    return [Rollout("", float(ok), ok, "Wrong.", 1, 1) for ok in solved]


def test_each_accepted_template_is_told_with_its_changes_and_its_samples(tmp_path: Path) -> None:
    written = iter(["Think. Be brief.", "Think. Be kind."])
    evolution = evolve(
        SAMPLES[6:], SAMPLES[:6], roll_out, CallableReflector(lambda prompt: f"```\n{next(written)}\n```"),
        EvolveConfig(budget=60, parents=1, max_iterations=2), tmp_path,
    )  # fmt: skip
    lines = list(explained(evolution, {s.id: s.question for s in SAMPLES}))
    assert lines == [
        "1 proposal: 1 accepted",
        "",
        "template 1, made from the bare prompt",
        "  + Think.",
        "  + Be brief.",
        "  solves 6 of 6 dev samples, its parent 3",
        '  gained 3: "Riddle 0?", "Riddle 2?", "Riddle 4?"',
    ]


def test_a_difference_is_short_and_both_ways() -> None:
    assert list(difference("One. Two.", "Two. Three.")) == ["  + Three.", "  - One."]
    assert list(difference("One. Two.", "Two. One.")) == ["  the same sentences, in another order"]
    long = [f"Sentence {n}." for n in range(20)]
    told = list(difference("", " ".join(long) + " " + "x" * 500))
    assert len(told) == 7
    assert told[-1] == "  + and 15 more"
    assert max(map(len, difference("", "x" * 500))) < 200
