"""Prompts that leave no room for a completion are no failures: refused when none fits, else reported by their share."""

import json
from pathlib import Path

import pytest

from helpers import hard_rows, last_number, make_trainer
from p2o.cli.main import main
from p2o.errors import ConfigError


def test_a_completion_as_long_as_the_context_is_refused_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_completion_length 512 leaves no room for a prompt in the context"):
        make_trainer(tmp_path, last_number, max_completion_length=512)


def test_an_evaluation_in_which_no_prompt_fits_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, last_number, max_completion_length=510)
    with pytest.raises(ConfigError, match=r"no prompt of the eval data leaves room for max_completion_length 510"):
        trainer.evaluate(hard_rows(4))


def rows_of_two_lengths() -> list[dict[str, str]]:
    short = [{"id": f"s{n}", "prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(11, 15)]
    return [*short, *({**row, "id": f"l{row['id']}", "prompt": 20 * "Please. " + row["prompt"]} for row in short)]


def test_the_share_that_does_not_fit_is_reported_and_left_out(tmp_path: Path) -> None:
    from datasets import Dataset

    table = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows_of_two_lengths()]
    roomy, tight = (make_trainer(tmp_path, last_number, max_completion_length=n) for n in (56, 470))
    short = roomy.evaluate(Dataset.from_list(table[:4]))
    both = tight.evaluate(Dataset.from_list(table))
    assert both["eval_no_room"] == 0.5
    assert "eval_no_room" not in short
    assert both["eval_bare_success"] == short["eval_bare_success"]


def test_the_commands_say_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of_two_lengths()))
    options = ["--train", str(data), "--test", str(data), "--eval", "null", "--output_dir", str(tmp_path / "out")]
    out = tmp_path / "eval.json"
    length = ["--max_completion_length"]
    assert main(["eval", "builtin:sandbox", "quickstart", *options, *length, "470", "--out", str(out)]) == 0
    figures = json.loads(out.read_text())["bare"]
    assert (figures["samples"], figures["no_room"]) == (4, 4)
    assert main(["eval", "builtin:sandbox", "quickstart", *options, *length, "510"]) == 2
    assert "leaves room" in capsys.readouterr().err
    assert main(["evolve", "quickstart", *options, *length, "510"]) == 2
    assert "no prompt leaves room for max_completion_length 510" in capsys.readouterr().err
