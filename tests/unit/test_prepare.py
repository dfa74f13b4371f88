"""`p2o data`: the paper's sets out of small local sources with the same columns, and with broken rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2o.cli.main import main
from p2o.data import load_samples
from p2o.data.evaluation_sets import EVAL_SETS, draws, eval_rows
from p2o.data.paper_rows import PREFIX, as_row
from p2o.data.training_sets import TRAINING_SETS, answer_type, balance, prepare
from p2o.errors import DataError
from p2o.rewards import readable_answers

DEEPMATH, DEEPSCALER = TRAINING_SETS["deepmath"], TRAINING_SETS["deepscaler"]


def all_readable(answers: Any) -> list[bool]:
    return [True] * len(answers)


def deepmath_rows(count: int, level: float = 7.0, answer: str = "{}") -> list[dict[str, Any]]:
    return [
        {"question": f"Question {level} {answer} {i}?", "final_answer": answer.format(i), "difficulty": level,
         "topic": "Algebra", "r1_solution_1": "long"}
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Yes", "yes_no"), ("false", "yes_no"), ("A", "choice"), ("(b)", "choice"), ("-12", "number"),
        ("3.5", "number"), ("-1/2", "number"), ("50%", "percentage"), ("12 cm", "unit"), ("2π", "symbols"),
        ("[0, 1)", "interval"), ("(1,2)", "interval"), (r"\frac{1}{2}", "other"), ("x", "choice"),
        ("the set of all prime numbers", "text"), ("nothing at all", "other"),
    ],
)  # fmt: skip
def test_answer_types(answer: str, kind: str) -> None:
    assert answer_type(answer) == kind


def rows_of(*answers: str) -> list[dict[str, Any]]:
    return [as_row("x", i, "train", f"Q{i}", a, difficulty=7.0) for i, a in enumerate(answers)]


def test_balance_by_square_roots_written_out() -> None:
    # 81 numbers, 9 choices, 10 yes/no: 95 places for the first two in the ratio 9 : 3, so 71 and 23, of which there
    # are only 9; then yes/no gets at most 80 // 19 = 4, which is 4 of 84 (4.8 %)
    answers = [str(i) for i in range(81)] + ["A"] * 9 + ["Yes"] * 10
    taken = balance(rows_of(*answers), random.Random(0))
    kinds = Counter(answer_type(r["reward_model"]["ground_truth"]) for r in taken)
    assert kinds == {"number": 71, "choice": 9, "yes_no": 4}


@given(st.lists(st.sampled_from(["1", "2.5", "A", "Yes", "No", r"\pi", "(1,2)"]), max_size=80), st.integers(0, 9))
def test_yes_and_no_are_never_more_than_five_percent(answers: list[str], seed: int) -> None:
    taken = balance(rows_of(*answers), random.Random(seed))
    kinds = Counter(answer_type(r["reward_model"]["ground_truth"]) for r in taken)
    assert kinds["yes_no"] * 20 <= len(taken)
    assert len({r["id"] for r in taken}) == len(taken)


def test_deepmath_threshold_and_counts() -> None:
    rows = deepmath_rows(40, 7.0) + deepmath_rows(40, 8.5, r"\frac{{1}}{{{}}}") + deepmath_rows(40, 5.0)
    made = prepare(rows, DEEPMATH, 30, dev=10, threshold=7.0, readable=all_readable)
    assert (len(made.train), len(made.dev)) == (30, 10)
    assert {r["extra_info"]["difficulty"] for r in made.train + made.dev} == {7.0, 8.5}
    assert made.left_out["below difficulty 7"] == 40
    assert sum(made.left_out.values()) + 40 == len(rows)  # every row is accounted for
    assert {r["extra_info"]["split"] for r in made.dev} == {"dev"}
    assert not {r["id"] for r in made.train} & {r["id"] for r in made.dev}


def test_the_draw_follows_from_the_seed_and_small_sets_are_part_of_large_ones() -> None:
    rows = deepmath_rows(60)
    small, large, other = (
        prepare(rows, DEEPMATH, size, dev=10, threshold=7.0, seed=seed, readable=all_readable)
        for size, seed in ((20, 1), (40, 1), (20, 2))
    )
    ids = [r["id"] for r in small.train]
    assert ids == [r["id"] for r in large.train[:20]]
    assert small.dev == large.dev
    assert ids != [r["id"] for r in other.train]


def test_broken_rows_are_left_out_and_counted() -> None:
    good = [{"problem": f"P{i}?", "answer": str(i), "solution": "s"} for i in range(6)]
    broken: list[dict[str, Any]] = [
        {"problem": None, "answer": "1"}, {"problem": "  ", "answer": "1"}, {"problem": ["x"], "answer": "1"},
        {"problem": "A?", "answer": None}, {"problem": "B?", "answer": ""}, {"problem": "C?"},
        {"problem": "P0?", "answer": "7"}, {},
    ]  # fmt: skip
    made = prepare([*broken, *good], DEEPSCALER, 4, dev=2, readable=all_readable)
    assert made.left_out == {"without a question": 4, "without an answer": 3, "with a question seen before": 1}
    bad_levels = [{**row, "difficulty": level} for row, level in zip(deepmath_rows(3), ["8", None, True], strict=True)]
    made = prepare([*bad_levels, *deepmath_rows(30, 8.0)], DEEPMATH, 4, dev=2, threshold=7.0, readable=all_readable)
    assert made.left_out["without a difficulty"] == 3


def test_solutions_are_kept_and_can_be_asked_for() -> None:
    rows = [{"problem": f"P{i}?", "answer": str(i), "solution": f"It is {i}." if i % 2 else ""} for i in range(12)]
    made = prepare(rows, DEEPSCALER, 8, dev=2, readable=all_readable)
    assert {r["solution"] for r in made.train} == {""} | {
        f"It is {r['reward_model']['ground_truth']}." for r in made.train if r["solution"]
    }
    solved = prepare(rows, DEEPSCALER, 4, dev=2, readable=all_readable, solved=True)
    assert all(r["solution"] for r in solved.train + solved.dev)
    assert solved.left_out == {"without a solution": 6}


def test_answers_that_the_verifier_cannot_read_are_replaced() -> None:
    rows = [{"problem": f"P{i}?", "answer": str(i)} for i in range(20)]
    made = prepare(rows, DEEPSCALER, 8, dev=2, readable=lambda golds: [int(g) % 2 == 0 for g in golds])
    assert all(int(r["reward_model"]["ground_truth"]) % 2 == 0 for r in made.train + made.dev)
    assert len(made.train) + len(made.dev) == 10
    assert made.left_out["with an answer that cannot be read"] + made.left_out.get("not drawn", 0) == 10
    assert readable_answers([r"\frac{1}{2}", "(1, 2)", "Yes", ""]) == [True, True, True, False]


def test_too_few_rows_say_why() -> None:
    with pytest.raises(DataError, match=r"leaves 15 rows, and 20 .* were asked for .*below difficulty 9"):
        prepare(deepmath_rows(16, 9.0) + deepmath_rows(8), DEEPMATH, 20, dev=5, threshold=9.0, readable=all_readable)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["data", *arguments])
    out = capsys.readouterr()
    return code, out.out + out.err


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_writes_what_p2o_and_verl_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source.jsonl", [*deepmath_rows(60), {"question": "broken"}])
    out = tmp_path / "out"
    code, text = run(
        capsys, "deepmath", "--source", source, "--size", "20", "--dev", "5", "--out", str(out)
    )  # fmt: skip
    assert code == 0, text
    assert "20 rows for training, 5 for dev" in text
    assert "1 without an answer" in text
    assert sorted(p.name for p in out.iterdir()) == [
        "dev_5.jsonl", "dev_5.parquet", "prepared_20.json", "train_20.jsonl", "train_20.parquet",
    ]  # fmt: skip
    samples = load_samples(str(out / "train_20.jsonl"))
    assert samples == load_samples(str(out / "train_20.parquet"))
    row = json.loads((out / "train_20.jsonl").read_text().splitlines()[0])
    assert list(row) == ["id", "data_source", "prompt", "ability", "reward_model", "extra_info", "solution"]
    assert set(row["reward_model"]) == {"style", "ground_truth"}
    assert {"index", "split"} < set(row["extra_info"])
    assert samples[0].id == row["id"] == f"deepmath-{row['extra_info']['index']}"
    assert samples[0].answer == row["reward_model"]["ground_truth"]
    assert samples[0].question.startswith(PREFIX + "Question ")
    assert json.loads((out / "prepared_20.json").read_text())["difficulty"] == 7.0


def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    source = write(tmp_path / "rows.jsonl", [{"problem": "P?", "solution": "x"}])
    for arguments, message in [
        (("deepscaler", "--source", source), "has no column 'answer'"),
        (("deepscaler", "--source", source, "--difficulty", "7"), "deepscaler has no difficulty"),
        (("deepmath", "--size", "0"), "--size is 0"),
        (("deepmath", "--sise", "5"), "no option '--sise'"),
        (("eval", "aime"), "did you mean aime2"),
    ]:
        code, text = run(capsys, *arguments)
        assert (code, text.count("\n")) == (2, 1)
        assert message in text

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    code, text = run(capsys, "deepscaler")
    assert code == 2
    assert "DeepScaleR-Preview-Dataset is not on this machine, and the hub cannot be reached" in text


def test_evaluation_sets_and_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {e.name: draws(e.size) for e in EVAL_SETS.values()} == {
        "aime24": 16, "aime25": 16, "amc23": 16, "math500": 1, "minerva": 1, "olympiadbench": 1,
    }  # fmt: skip
    assert draws(99) == 16
    assert draws(100) == 1
    source = write(
        tmp_path / "olympiad.jsonl",
        [{"question": "Both?", "final_answer": ["$1$", "$2$"]}, {"question": "One?", "final_answer": [r"\pi"]}],
    )
    code, text = run(capsys, "eval", "olympiadbench", "--source", source, "--out", str(tmp_path / "eval"))
    assert code == 0
    assert "--draws 16" in text  # two items are few
    samples = load_samples(str(tmp_path / "eval" / "olympiadbench.parquet"))
    assert [(s.id, s.answer) for s in samples] == [("olympiadbench-0", "1, 2"), ("olympiadbench-1", r"\pi")]
    with pytest.raises(DataError, match="row 1 of amc23 has no answer"):
        eval_rows([{"question": "Q", "answer": None}], EVAL_SETS["amc23"])
