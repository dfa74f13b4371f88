"""Rows from every kind of source become samples with stable, unique ids; bad rows give one clear sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from p2o.base.packed import pack_json, unpack_json
from p2o.data import (
    DataColumns,
    check_prompts,
    load_rows,
    load_samples,
    sample_of,
    stable_id,
    to_dataset,
    with_sample_ids,
)
from p2o.data.row import numbered
from p2o.errors import DataError
from p2o.runs.building import held_out


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [{"prompt": f"{n} + {n}?", "answer": 2 * n, "level": n} for n in range(5)]


def test_core_imports_no_engine() -> None:
    code = (
        "import sys, p2o.data, p2o.rewards, p2o.rewards.verifier_pool; "
        "heavy = {'torch', 'transformers', 'trl', 'datasets', "
        "'math_verify', 'reasoning_gym', 'pyarrow'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_text_prompt_becomes_a_user_message_and_other_columns_are_kept(tmp_path: Path) -> None:
    sample = load_samples(write(tmp_path / "rows.jsonl", ROWS))[3]
    assert sample.messages == [{"role": "user", "content": "3 + 3?"}]
    assert sample.answer == "6"
    assert sample.columns == {"level": 3}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "folder", "saved", "saved_dict"])
def test_local_sources_give_the_same_samples(tmp_path: Path, kind: str) -> None:
    expected = load_samples(write(tmp_path / "rows.jsonl", ROWS))
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path = tmp_path / "rows.jsonl"
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif kind == "folder":
        path.mkdir()
        write(path / "train.jsonl", ROWS)
    elif kind == "saved":
        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    else:
        datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)).save_to_disk(path)
    assert load_samples(str(path)) == expected


def test_a_csv_file_gives_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffquestion,answer\n"What is 1 + 2,\nin one word?",3\n\n"He said ""4?""",4\n', encoding="utf-8")
    first, second = load_samples(str(path))
    assert (first.question, first.answer) == ("What is 1 + 2,\nin one word?", "3")
    assert second.question == 'He said "4?"'


def test_verl_parquet_is_recognised_by_its_columns(tmp_path: Path) -> None:
    rows = [
        {
            "data_source": "sums",
            "prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": f"{n} + 1"}],
            "reward_model": {"style": "rule", "ground_truth": {"target": [str(n + 1), f"{n + 1}.0"]}},
            "extra_info": {"index": n, "split": "train"},
        }
        for n in range(3)
    ]
    path = tmp_path / "train.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    samples = load_samples(str(path))
    assert [sample.id for sample in samples] == ["sums:train:0", "sums:train:1", "sums:train:2"]
    assert samples[1].answer == "2"
    assert samples[1].answers == samples[1].columns["right_answers"] == ["2", "2.0"]
    assert samples[1].question == "1 + 1"
    assert [message["role"] for message in samples[1].messages] == ["system", "user"]


def test_system_prompt_prefix_and_suffix_go_where_they_belong_and_leave_the_id(tmp_path: Path) -> None:
    rows = [
        {"prompt": "1 + 1?", "answer": "2"},
        {"prompt": [{"role": "system", "content": "Own."}, {"role": "user", "content": "2?"}], "answer": "2"},
    ]
    source = write(tmp_path / "rows.jsonl", rows)
    columns = DataColumns(system_prompt="Be brief.", prompt_prefix="Q: ", prompt_suffix=" A:")
    first, second = load_samples(source, columns=columns)
    assert first.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: 1 + 1? A:"},
    ]
    assert [message["content"] for message in second.messages] == ["Own.", "Q: 2? A:"]
    assert [first.id, second.id] == [sample.id for sample in load_samples(source)]


def test_fallback_prompt_columns_apply_only_to_the_default(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"problem": "1?", "question": "2?", "answer": "2"}])
    assert load_samples(source)[0].question == "2?"
    assert load_samples(source, columns=DataColumns(prompt_column="problem"))[0].question == "1?"
    with pytest.raises(DataError, match=r"no column 'text'.*problem, question, answer"):
        load_samples(source, columns=DataColumns(prompt_column="text"))


def test_limit_takes_a_reproducible_subset_in_order(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", ROWS)
    taken = [load_samples(source, columns=DataColumns(limit=3, seed=seed)) for seed in (0, 0, 1)]
    assert taken[0] == taken[1]
    assert len(taken[2]) == 3
    levels = [sample.columns["level"] for sample in taken[0]]
    assert levels == sorted(levels)


def test_a_named_column_is_kept_as_the_solution(tmp_path: Path) -> None:
    rows = [{"prompt": "1?", "answer": "1", "proof": "It is 1."}, {"prompt": "2?", "answer": "2", "proof": None}]
    source = write(tmp_path / "rows.jsonl", rows)
    samples = load_samples(source, columns=DataColumns(solution_column="proof"))
    assert [sample.columns["solution"] for sample in samples] == ["It is 1.", None]
    assert all("solution" not in sample.columns for sample in load_samples(source))
    with pytest.raises(DataError, match="no column 'proofs'; name the right one in solution_column"):
        load_samples(source, columns=DataColumns(solution_column="proofs"))


def test_given_ids_are_text_and_must_be_unique(tmp_path: Path) -> None:
    rows = [{**row, "id": n} for n, row in enumerate(ROWS)]
    assert [s.id for s in load_samples(write(tmp_path / "rows.jsonl", rows))] == list("01234")
    rows[4]["id"] = 1
    with pytest.raises(DataError, match=r"rows 2 and 5 of .* have the same id '1' and differ"):
        load_samples(write(tmp_path / "twice.jsonl", rows))
    rows = [{**row, "sample_id": 10 + n, "id": 0} for n, row in enumerate(ROWS)]
    assert [s.id for s in load_samples(write(tmp_path / "own.jsonl", rows))] == ["10", "11", "12", "13", "14"]


def test_a_recipe_leaves_out_rows_that_repeat(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"left out 3 of 8 rows \(same prompt and answer as an earlier row\)"):
        samples = load_samples(write(tmp_path / "rows.jsonl", [*ROWS, ROWS[0], ROWS[1], ROWS[0]]))
    assert samples == load_samples(write(tmp_path / "once.jsonl", ROWS))
    given = [{**ROWS[0], "id": 7}, {**ROWS[0], "id": 7}, {**ROWS[1], "id": 8}]
    with pytest.warns(UserWarning, match="left out 1 of 3 rows"):
        assert [s.id for s in load_samples(write(tmp_path / "given.jsonl", given))] == ["7", "8"]


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "a#2#2"]), max_size=12))
def test_numbered_ids_are_unique_and_begin_with_their_own(ids: list[str]) -> None:
    made = numbered(ids)
    assert len(set(made)) == len(ids)
    assert all(new.startswith(old) for new, old in zip(made, ids, strict=True))
    assert made[:1] == ids[:1]


PARTS = [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1?", "image": None}]


def test_content_as_parts_is_its_text(tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": PARTS}], "answer": "2"},
        {"prompt": [{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 1?"}], "answer": "3"},
    ]
    parts, text = load_samples(write(tmp_path / "rows.jsonl", rows), columns=DataColumns(prompt_prefix="Q: "))
    assert parts.messages == text.messages
    assert parts.question == "Q: 1 + 1?"
    assert len(to_dataset([parts, text])) == 2
    row = {"prompt": rows[0]["prompt"], "answer": "2", "sample_id": 5}
    assert sample_of(row).question == "1 + 1?"
    assert sample_of(row).id == "5"


@pytest.mark.parametrize("part", [{"type": "image", "image": "x.png"}, {"type": "image_url"}, {"type": "audio"}, {}])
def test_pictures_are_refused_with_one_sentence(tmp_path: Path, part: dict[str, Any]) -> None:
    prompt = [{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    with pytest.raises(DataError, match=r"a message in row 1 of .* has a part of type .*trl\.GRPOTrainer"):
        load_samples(write(tmp_path / "rows.jsonl", [{"prompt": prompt, "answer": "2"}]))
    with pytest.raises(DataError, match=r"sample 'a' has a part that is no text"):
        check_prompts([sample_of({"prompt": prompt, "sample_id": "a"})])
    with pytest.raises(DataError, match="has pictures in its column 'image'"):
        load_rows(write(tmp_path / "column.jsonl", [{**ROWS[0], "image": "x.png"}]))


def test_prompts_without_a_user_message_are_refused() -> None:
    check_prompts([sample_of({"prompt": "a plain text"}), sample_of({"prompt": [{"role": "user", "content": PARTS}]})])
    with pytest.raises(DataError, match="sample 's' has no user message for a template"):
        check_prompts([sample_of({"prompt": [{"role": "system", "content": "x"}], "sample_id": "s"})])


def test_a_users_data_set_gets_unique_ids_of_text() -> None:
    rows = [{"prompt": "1?", "x": 1}, {"prompt": "2?", "x": 2}, {"prompt": "1?", "x": 3}]
    made, _ = with_sample_ids(datasets.Dataset.from_list(rows))
    first = sample_of(rows[0]).id
    assert made["sample_id"][:] == [first, sample_of(rows[1]).id, f"{first}#2"]
    assert made["x"][:] == [1, 2, 3]
    numeric, _ = with_sample_ids(datasets.Dataset.from_list([{**row, "sample_id": n} for n, row in enumerate(rows)]))
    assert numeric["sample_id"][:] == ["0", "1", "2"]
    again, _ = with_sample_ids(numeric)
    assert again is numeric
    floats, _ = with_sample_ids(datasets.Dataset.from_list([{"prompt": "1?", "sample_id": 0.5}]))
    assert floats["sample_id"][:] == ["0.5"]
    with pytest.raises(DataError, match="two rows of the data set have the same sample_id '7' and differ"):
        with_sample_ids(datasets.Dataset.from_list([{**row, "sample_id": 7} for row in rows]))


def test_a_users_own_columns_are_kept(tmp_path: Path) -> None:
    row = {**ROWS[1], "answers": ["A", "B"], "completion": "x", "completion_ids": [1]}
    (sample,) = load_samples(write(tmp_path / "rows.jsonl", [row]))
    assert sample.answers == ["2"]
    assert sample.columns == {"level": 1, "answers": ["A", "B"], "completion": "x", "completion_ids": [1]}


def test_held_out_data_is_compared_by_its_content_not_by_its_ids(tmp_path: Path) -> None:
    train = load_samples(write(tmp_path / "a.jsonl", [{**row, "id": n} for n, row in enumerate(ROWS[:3])]))
    test = load_samples(write(tmp_path / "b.jsonl", [{**row, "id": n} for n, row in enumerate(ROWS[2:])]))
    assert [s.question for s in held_out(test, train, "b.jsonl")] == ["3 + 3?", "4 + 4?"]


TEXT = st.text(min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=8, unique=True))
def test_ids_differ_exactly_when_prompt_or_answer_differ(pairs: list[tuple[str, str]]) -> None:
    ids = [stable_id([{"role": "user", "content": prompt}], [answer]) for prompt, answer in pairs]
    again = [stable_id([{"content": prompt, "role": "user"}], [answer]) for prompt, answer in pairs]
    assert ids == again
    assert len(set(ids)) == len(pairs)


def test_ids_stay_the_same_between_versions() -> None:
    assert stable_id([{"role": "user", "content": "1 + 1?"}], ["2"]) == "e7e70c5f377561a5"


def test_samples_survive_the_way_through_a_dataset(tmp_path: Path) -> None:
    rows = [{**row, "info": {"a": [1, 2]}} for row in ROWS]
    samples = load_samples(write(tmp_path / "rows.jsonl", rows))
    table = to_dataset(samples)
    assert set(table.column_names) == {"prompt", "sample_id", "answer", "level", "info"}
    assert [sample_of(row) for row in table] == samples


def test_to_dataset_fills_columns_that_only_some_samples_have_and_refuses_mixed_types(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "extra": 1}, ROWS[1]]
    assert to_dataset(load_samples(write(tmp_path / "a.jsonl", rows)))["extra"][:] == [1, None]
    mixed = [{**ROWS[0], "extra": 1}, {**ROWS[1], "extra": {"a": "b"}}]
    with pytest.raises(DataError, match="column 'extra' mixes types"):
        to_dataset(load_samples(write(tmp_path / "b.jsonl", mixed)))
    huge = [{**ROWS[0], "seed": 2**70}]
    with pytest.raises(DataError, match="column 'seed' holds integers beyond 64 bits"):
        to_dataset(load_samples(write(tmp_path / "c.jsonl", huge)))
    halves = [{**ROWS[0], "note": "\ud800"}]
    with pytest.raises(DataError, match="column 'note' holds text that is not valid Unicode"):
        to_dataset(load_samples(write(tmp_path / "d.jsonl", halves)))


def test_sample_of_takes_rows_of_other_data_sets() -> None:
    sample = sample_of({"prompt": "1 + 1?", "solution": "2"})
    assert sample.question == "1 + 1?"
    assert sample.id == stable_id([{"role": "user", "content": "1 + 1?"}], [])
    assert sample.columns == {"solution": "2"}


GOOD = {"prompt": "1?", "answer": "1"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"answer": "1"}, "row 2 of .* has no prompt"),
        ({"prompt": "  ", "answer": "1"}, "row 2 of .* has no prompt"),
        ({"prompt": "2?"}, "row 2 of .* has no answer"),
        ({"prompt": "2?", "answer": " "}, "row 2 of .* has no answer"),
        ({"prompt": "2?", "answer": {"a": 1}}, "the answer in row 2 .* neither text nor a number"),
        ({"prompt": 5, "answer": "1"}, "the prompt in row 2 .* neither text nor a list"),
        ({"prompt": [{"role": "bot", "content": "x"}], "answer": "1"}, "a message in row 2 of"),
        ({"prompt": [{"role": "user", "content": ["x"]}], "answer": "1"}, "a message in row 2 of"),
        ({"prompt": [{"role": "user"}], "answer": "1"}, "a message in row 2 of"),
        ({"prompt": [{"role": "user", "content": []}], "answer": "1"}, "row 2 of .* has no user message"),
        ({"prompt": "\udc00?", "answer": "1"}, "the prompt in row 2 of .* is not valid Unicode"),
        ({"prompt": "2?", "answer": "\udc00"}, "the answer in row 2 of .* is not valid Unicode"),
        ({"prompt": [{"role": "system", "content": "x"}], "answer": "1"}, "row 2 of .* has no user message"),
        ("text", "row 2 of .* is not a JSON object"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_samples(write(tmp_path / "rows.jsonl", [GOOD, bad]))


def test_answers_may_be_missing_if_allowed(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"prompt": "1?"}])
    assert load_samples(source, columns=DataColumns(require_answer=False))[0].answer is None


def test_bad_sources_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.jsonl", ROWS)
    Path("empty.jsonl").write_text("\n")
    Path("empty.json").write_text("[]")
    parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), "empty.parquet")
    Path("deep.jsonl").write_text("[" * 100_000 + "\n")
    Path("broken.jsonl").write_text('{"prompt": "1?", "answer": "1"}\n\n{"prompt": \n')
    Path("broken.parquet").write_text("no parquet")
    Path("binary.jsonl").write_bytes(b"\xff\xfe\x00")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00")
    Path("empty.csv").write_text("")
    Path("long.csv").write_text("prompt,answer\n1?,1\n2?,2,3\n")
    Path("rows.tsv").write_text("prompt\tanswer\n1?\t1\n")
    write(tmp_path / "reserved.jsonl", [{**ROWS[0], "completions": 1}])
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS), test=datasets.Dataset.from_list(ROWS)).save_to_disk(
        "saved"
    )
    for source, split, message in [
        ("missing.jsonl", None, "there is no file missing.jsonl"),
        ("deap.jsonl", None, r"there is no file deap.jsonl \(did you mean deep.jsonl"),
        ("./missing", None, "there is no data set ./missing"),
        ("empty.jsonl", None, "empty.jsonl holds no rows"),
        ("empty.json", None, "empty.json holds no rows"),
        ("empty.parquet", None, "empty.parquet holds no rows"),
        ("deep.jsonl", None, "line 1 of deep.jsonl is not valid JSON"),
        ("broken.jsonl", None, "line 3 of broken.jsonl is not valid JSON"),
        ("broken.parquet", None, "cannot be read as parquet"),
        ("binary.jsonl", None, "cannot be read as text"),
        ("binary.csv", None, "cannot be read as CSV"),
        ("empty.csv", None, "empty.csv holds no rows"),
        ("long.csv", None, "row 2 of long.csv has 3 values for 2 columns"),
        ("rows.tsv", None, "rows.tsv is no kind of file that is read; make it one of .jsonl, .json, .csv, .parquet"),
        ("reserved.jsonl", None, "a column 'completions', a name that TRL reserves"),
        ("rows.jsonl", "test", "no split 'test'; a file has one split, called train"),
        ("saved", "dev", "saved has no split 'dev'; choose one of train, test"),
        ("builtin:sandbox/trian", None, "there is no builtin:sandbox/trian"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            load_rows(source, split=split)
        assert "\n" not in str(caught.value)


def test_a_hub_name_without_a_network_gives_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"owner/not-here is not on this machine, and the hub cannot be"):
        load_rows("owner/not-here")


def test_reasoning_gym_rows_carry_what_their_scorer_needs() -> None:
    source = "reasoning_gym:chain_sum?size=4&seed=3&max_digits=2&allow_negation=true"
    samples = load_samples(source)
    assert len(samples) == 4
    assert samples == load_samples(source)
    assert samples[0].columns["reasoning_gym"] == "chain_sum"
    entry = unpack_json(samples[0].columns["reasoning_gym_entry"])
    assert (entry["question"], entry["answer"]) == (samples[0].question, samples[0].answer)
    assert [sample_of(row) for row in to_dataset(samples)] == samples


def test_reasoning_gym_mistakes_name_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean chain_sum"):
        load_rows("reasoning_gym:chain_sums")
    with pytest.raises(DataError, match=r"no setting 'max_digit'.*did you mean max_digits"):
        load_rows("reasoning_gym:chain_sum?max_digit=3")
    with pytest.raises(DataError, match="cannot be generated"):
        load_rows("reasoning_gym:chain_sum?size=0")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(JSONS)
def test_packed_json_keeps_tuples(value: Any) -> None:
    assert unpack_json(pack_json(value)) == value
