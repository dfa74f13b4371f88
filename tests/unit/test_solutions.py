"""The methods that need solutions: their rules against the formulas, written out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from p2o.core.divergence import reverse_kl
from p2o.core.epoch_files import read_epoch
from p2o.core.given import Given, prompted
from p2o.core.hard import Tally
from p2o.core.loop import JointLoop
from p2o.core.methods import load_method
from p2o.core.methods.prefix import next_length
from p2o.core.methods.sage import next_level
from p2o.core.methods.scaf import sequence_weight, weakest_hints
from p2o.core.samples import Rollout, Sample
from p2o.core.settings import LoopSettings
from p2o.core.solutions import SOLUTION, STEPS, beginning, steps_of
from p2o.core.summary import EpochSummary
from p2o.core.turns import Calls
from p2o.errors import ConfigError
from p2o.generation.row_ids import with_rows
from p2o.trl.batch import RolloutFacts, groups_of
from p2o.trl.turns import with_given

NEED_SOLUTIONS = ("prefix", "sage", "scaf", "scaf_sft", "scaf_shape", "luffy", "hdpo", "sdft", "opsd")


def sample(solution: str | None, steps: Sequence[str] | None = None, sample_id: str = "a") -> Sample:
    columns = {SOLUTION: solution} | ({} if steps is None else {STEPS: steps})
    return Sample(sample_id, [{"role": "user", "content": "How many?"}], "7", columns, f"row {sample_id} of x.jsonl")


# --- solutions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("There are 3.5 dozen. We halve them!\n\nSo 21; all of them.\nThe answer is 7.",
         ["There are 3.5 dozen.", "We halve them!", "So 21;", "all of them."]),
        ("x = 3\ny = 4\nx + y = 7", ["x = 3", "y = 4"]),
        ("The answer is 7.", []),
        ("7", []),
    ],
)  # fmt: skip
def test_a_text_is_shown_without_its_last_step(text: str, steps: list[str]) -> None:
    assert steps_of(sample(text)) == steps


def test_steps_of_the_data_are_shown_as_they_are() -> None:
    assert steps_of(sample("7", ["Count.", "Add."])) == ["Count.", "Add."]
    assert steps_of(sample("One. Two. Three.", [])) == []


@pytest.mark.parametrize(("steps", "counts"), [(4, [0, 1, 2, 3, 4]), (2, [0, 1, 1, 2, 2]), (9, [0, 3, 5, 7, 9]),
                                               (0, [0] * 5)])  # fmt: skip
def test_a_part_of_the_steps_is_rounded_up(steps: int, counts: list[int]) -> None:
    told = sample("7", [f"{n}." for n in range(steps)])
    assert [math.ceil(part / 4 * steps) for part in range(5)] == counts
    assert [len(beginning(told, part, 4).split()) for part in range(5)] == counts


@pytest.mark.parametrize("method", NEED_SOLUTIONS)
def test_rows_without_a_solution_are_named_at_the_start(method: str) -> None:
    samples = {i: sample(solution, sample_id=i) for i, solution in {"a": "One. 7", "b": " ", "c": None}.items()}
    settings = LoopSettings(method=method)
    with pytest.raises(ConfigError, match=r"2 of 3 have no text .* \(row b of x.jsonl, row c of x.jsonl\)"):
        load_method(method)(settings, samples, 4, 0)
    load_method(method)(settings, {"a": samples["a"]}, 4, 0)


# --- prefix ----------------------------------------------------------------------------------------------------------


def test_prefix_lengths() -> None:
    assert next_length(None, 0, 8) == 4  # failed for the first time
    assert [next_length(None, n, 8) for n in range(1, 9)] == [None] * 8
    assert [next_length(3, n, 8) for n in range(9)] == [3 if n / 8 < 1 / 2 else 2 for n in range(9)]
    assert [next_length(0, n, 8) for n in (0, 1, 8)] == [1, 0, 0]  # it came back to the bare prompt


# --- sage ------------------------------------------------------------------------------------------------------------


def test_sage_levels() -> None:
    for level in range(5):
        for solved in range(21):
            accuracy = solved / 20
            step = 1 if accuracy == 0 else -1 if accuracy > 0.35 else 0
            assert next_level(level, solved, 20) == min(4, max(0, level + step))


# --- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "first"), [("prefix", ["A.", "B.", "C.", "D."]), ("sage", ["A."])])
def test_the_steps_stand_in_front_of_all_rollouts_and_the_state_comes_back(method: str, first: list[str]) -> None:
    samples = {"a": sample("7", ["A.", "B.", "C.", "D."])}
    made, again = (load_method(method)(LoopSettings(method=method), samples, 3, 0) for _ in range(2))
    assert made.prompts("a") == ()
    made.levels["a"] = made.next_level(None, Tally(bare=3))
    heading, *shown = made.prompts("a")[0].split("\n")
    assert "question below" in heading
    assert shown == first
    assert len(set(made.prompts("a"))) == 1
    assert len(made.prompts("a")) == 3
    again.load_state_dict(made.state_dict())
    assert again.prompts("a") == made.prompts("a")
    credit = made.credit(1)
    assert (credit.trained_on, credit.old_logps, credit.weights) == ("templated", "templated", None)


@pytest.mark.parametrize("method", ["prefix", "sage"])
def test_levels_follow_the_epochs_successes(method: str) -> None:
    samples = {"a": sample("7", ["A.", "B.", "C.", "D."]), "b": sample("7", [], "b")}
    made = load_method(method)(LoopSettings(method=method), samples, 4, 0)
    seen = []
    for tally in (Tally(bare=4), Tally(templated=4, templated_solved=1), Tally(templated=4, templated_solved=4)):
        end = SimpleNamespace(tallies={"a": tally, "b": Tally(bare=4)}, summary=EpochSummary(0))
        made.between_epochs(end)
        seen.append(dict(made.levels))
    first = {"prefix": 4, "sage": 1}[method]
    assert seen == [{"a": first}, {"a": first}, {"a": first - 1}]
    assert end.summary.notes == [
        f"samples shown 1/4, 2/4, 3/4, 4/4 of their steps: {'0, 0, 1, 0' if method == 'prefix' else '0, 0, 0, 0'}"
    ]


# --- scaf ------------------------------------------------------------------------------------------------------------


def test_scaf_weighs_a_row_by_its_clipped_sequence_ratio() -> None:
    bare = torch.tensor([[-1.0, -2.0, 0.0], [-9.0, -3.0, -1.0], [-0.5, -0.1, 0.0]])
    hinted = torch.tensor([[-0.5, -0.5, 0.0], [-0.1, -0.1, -0.1], [-9.0, -9.0, 0.0]])
    weights = sequence_weight(bare, hinted, torch.tensor([True, True, False]), torch.tensor([True, True, True]))
    first = math.exp(max(-5, min(5, (-1 + 0.5) + (-2 + 0.5))))
    expected = torch.tensor([[first] * 3, [math.exp(-5)] * 3, [1.0] * 3])
    assert torch.allclose(weights, expected)


def test_scaf_takes_the_weakest_hint_that_works() -> None:
    samples = [sample("7", ["A.", "B.", "C.", "D."], i) for i in "pqr"] + [sample("7", [], "s")]
    needs = {"p": 1, "q": 3, "r": 9}
    asked: list[str] = []

    def roll_out(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        asked.extend(s.id for _, s in pairs)
        return [Rollout("", 0.0, len(hint.split("\n")) - 1 >= needs[s.id]) for hint, s in pairs]

    found = {i: hint.split("\n")[1:] for i, hint in weakest_hints(samples, roll_out).items()}
    assert found == {"p": ["A."], "q": ["A.", "B.", "C."]}
    assert asked == ["p", "q", "r", "q", "r", "q", "r", "r"]


def test_scafs_three_credits() -> None:
    samples = {"a": sample("7", ["A."])}
    bare, hinted = torch.full((1, 2), -3.0), torch.full((1, 2), -1.0)
    rows, solved = torch.tensor([True]), torch.tensor([True])
    p = math.exp(-3)
    expected = {"scaf": math.exp(-4), "scaf_sft": 1.0, "scaf_shape": 0.1 * p / (p + 0.1) ** 2}
    for name, weight in expected.items():
        method = load_method(name)(LoopSettings(method=name), samples, 2, 0)
        credit = method.credit(1)
        assert credit.drop_failed
        weights = torch.ones(1, 2) if credit.weights is None else credit.weights(bare, hinted, rows, solved)
        assert torch.allclose(weights, torch.full((1, 2), weight))
        method.hints = {"a": "Look."}
        assert method.prompts("a") == ["", "Look."]


# --- luffy -----------------------------------------------------------------------------------------------------------


def test_luffy_gives_one_row_and_weighs_it_by_the_gradient_of_f() -> None:
    method = load_method("luffy")(LoopSettings(method="luffy"), {"a": sample("It is 7.")}, 4, 0)
    *drawn, given = method.prompts("a")
    assert drawn == [""] * 3
    assert isinstance(given, Given)
    assert given == "It is 7."
    logps = torch.tensor([[-0.1, -2.0, -7.0], [-0.1, -2.0, -7.0]], requires_grad=True)
    p = logps.exp()
    (p / (p + 0.1)).sum().backward()  # ∇ f(p) by log p is what a token's weight stands for
    credit = method.credit(0)
    assert credit.weights is not None
    weights = credit.weights(logps.detach(), torch.zeros(2, 3), torch.tensor([True, False]), torch.tensor([True, True]))
    assert logps.grad is not None
    assert torch.allclose(weights[0], logps.grad[0])
    assert torch.equal(weights[1], torch.ones(3))


def test_samples_with_a_given_row_alone_need_no_help(tmp_path: Path) -> None:
    loop = JointLoop(LoopSettings(method="luffy"), {"a": sample("It is 7.")}, tmp_path, 3, 0)
    assert isinstance(loop.template("a", 2), Given)
    assert loop.needed == set()
    loop.record("a", [0.0, 0.0], [False, False], [0.0, 0.0, 1.0])
    loop.close()
    (epoch,) = map(read_epoch, tmp_path.glob("epoch-*.json"))
    assert epoch["assignment"] == {}
    assert epoch["summary"]["no_spread"] == 0
    assert prompted({"a": [Given("7"), "Think."], "b": [Given("7"), ""]}) == {"a": ["", "Think."]}


def test_given_completions_take_their_places_among_drawn_ones() -> None:
    prompts = with_rows([[1], [2], [3], [4]])
    given = {0: [7, 8], 3: [9]}
    drawn, completions = [prompts[1], prompts[2]], [[20], [30]]
    assert with_given(given, prompts, drawn, completions, None) == ([[7, 8], [20], [30], [9]], None)
    everything = [[10], [20], [30], [40, 41]]  # what an engine drew for given rows is dropped
    logprobs = [[-0.1], [-0.2], [-0.3], [-0.4, -0.41]]
    assert with_given(given, prompts, prompts, everything, logprobs) == (
        [[7, 8], [20], [30], [9]],
        [[None, None], [-0.2], [-0.3], [None]],
    )


def test_a_given_row_is_part_of_the_spread_and_of_no_figure_of_success() -> None:
    facts = [RolloutFacts("a", t, r, r, r == 1.0, Calls()) for t, r in [("", 0.0), ("", 0.0), (Given("7"), 1.0)]]
    ((group, rows),) = groups_of(facts, 3)
    assert (group.templated, group.solved, group.rewards) == ([False, False], [False, False], [0.0, 0.0])
    assert group.spread
    assert len(rows) == 3


# --- hdpo, sdft, opsd ------------------------------------------------------------------------------------------------


def test_hdpo_shows_the_solution_once_after_all_bare_rollouts_failed() -> None:
    samples = {"a": sample("It is 7.", ["A.", "B."]), "b": sample("So 7.", None, "b"), "c": sample("7", [], "c")}
    method, again = (load_method("hdpo")(LoopSettings(method="hdpo"), samples, 3, 0) for _ in range(2))
    tallies = {"a": Tally(bare=3), "b": Tally(bare=3), "c": Tally(bare=3)}
    method.between_epochs(SimpleNamespace(tallies=tallies))
    assert method.prompts("a") == ["A solution of the question below:\nA.\nB."] * 3
    assert method.prompts("b") == ["A solution of the question below:\nSo 7."] * 3
    assert method.prompts("c") == ()  # nothing of it may be shown
    again.load_state_dict(method.state_dict())
    assert again.prompts("a") == method.prompts("a")
    method.between_epochs(SimpleNamespace(tallies={"a": Tally(templated=3), "b": Tally(bare=3, bare_solved=1)}))
    assert method.prompts("a") == method.prompts("b") == ()


@pytest.mark.parametrize(("name", "reverse"), [("sdft", True), ("opsd", False)])
def test_self_distillation_is_a_kl_term_alone_on_bare_rollouts(name: str, reverse: bool) -> None:
    settings = LoopSettings(method=name, kl_weight=0.5, kl_top_k=7, kl_clip=2.0)
    method = load_method(name)(settings, {"a": sample("7", ["A."]), "b": sample("7", [], "b")}, 3, 0)
    assert method.prompts("a") == ()
    term = method.credit(0).kl
    assert term is not None
    assert (term.weight, term.top_k, term.clip, term.reverse, term.alone) == (0.5, 7, 2.0, reverse, True)
    assert term.teacher is not None
    assert term.teacher("a") == "A solution of the question below:\nA."
    assert term.teacher("b") == ""


def test_reverse_kl_over_the_whole_vocabulary_is_kl_of_student_and_teacher() -> None:
    torch.manual_seed(0)
    student, teacher = (torch.randn(6, 9).mul(2).log_softmax(-1) for _ in range(2))
    best = teacher.topk(9, dim=-1)
    exact = (student.exp() * (student - teacher)).sum(-1)
    assert torch.allclose(reverse_kl(student, best.indices, best.values, 99.0), exact, atol=1e-4)
    clipped = reverse_kl(student, best.indices, best.values, 0.5)
    assert torch.allclose(clipped, exact.clamp(max=0.5), atol=1e-4)
    few = teacher.topk(3, dim=-1)  # all others are one token
    p, q = few.values.exp(), student.gather(1, few.indices).exp()
    p, q = (torch.cat([x, 1 - x.sum(1, keepdim=True)], 1) for x in (p, q))
    assert torch.allclose(reverse_kl(student, few.indices, few.values, 99.0), (q * (q / p).log()).sum(1), atol=1e-5)
