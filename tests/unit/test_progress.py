"""What a person sees of a run: short rows within 80 columns, plain lines in a file, a redrawn part at a terminal."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from p2o.base import live
from p2o.base.live import Bar, show_above
from p2o.base.rows import append_row, read_rows, write_rows
from p2o.base.terminal import CleanConsole
from p2o.core import display
from p2o.core.cost import CostMeter
from p2o.core.diagnosis import Finding
from p2o.core.display import EpochNews, EvolutionBar, TerminalView
from p2o.core.evolve import EvolveProgress
from p2o.core.progress import COLUMNS, all_figures, duration, epoch_rows, evaluation_line, short, step_cells, step_line
from p2o.core.rollout_log import LoggedRollout, RolloutLog
from p2o.core.shown import choose_sample, failed_bare
from p2o.core.summary import EpochSummary
from p2o.errors import StateError
from p2o.trl.notebook import NotebookView
from p2o.trl.watching import Watch

LOG = {
    "step": 123456, "loss": 0.1, "reward": -123.456, "p2o/bare_success": 1.0, "p2o/templated_success": 1.0,
    "p2o/no_spread": 1.0, "p2o/rescued_groups": 1.0, "p2o/graduated_groups": 1.0, "p2o/cost": 9.99e11, "epoch": 1.0,
}  # fmt: skip


def test_a_row_fits_into_80_columns_and_says_what_was_not_measured() -> None:
    assert len(step_line(list(COLUMNS), 5000)) < 80
    assert len(step_line(step_cells(LOG, 200000, 3599 * 100), 200000)) < 90  # of the largest run that one can think of
    assert len(step_line(step_cells({**LOG, "step": 1234, "reward": 0.52}, 5000, 3599), 5000)) < 80
    cells = step_cells({"step": 1, "loss": 0.0}, 50, None)
    assert cells == [" 1/50", *["–"] * 8]


def test_short_numbers_and_times() -> None:
    assert [short(n) for n in (7, 1234, 1234567)] == ["7", "1.23 k", "1.23 M"]
    assert [duration(s) for s in (41.6, 185, 7385)] == ["42 s", "3:05", "2:03:05"]


def test_all_figures_are_unquoted_and_complete() -> None:
    line = all_figures(LOG)
    assert "'" not in line
    assert all(f"{name} " in line for name in LOG)


def test_an_evaluation_names_its_groups() -> None:
    row = {"eval_bare_success": 0.5, "eval_bare_success_easy": 1.0, "eval_bare_success_hard": 0.25, "eval_reward": 1.0}
    assert evaluation_line(row) == "50.0 % (easy 100.0 %, hard 25.0 %)"


def test_the_rows_of_an_epoch_by_hand() -> None:
    summary = EpochSummary(1, 10, all_failed=4, all_solved=1, no_spread=5, bare_success=0.25, hard=5, rescued=2,
                           forgotten=1, graduated=3, templated_next=4)  # fmt: skip
    first = {"eval_bare_success": 0.2}
    rows = dict(epoch_rows(summary, {"eval_bare_success": 0.4}, first, CostMeter(), 61))
    assert rows["evaluation data, bare"] == "40.0 %; before 20.0 %"
    assert rows["rollouts solved"] == "bare 25.0 %, templated –"
    assert rows["no spread of rewards"] == "5 of 10 groups (4 all failed, 1 all solved)"
    assert (rows["samples in this epoch"], rows["samples so far"]) == ("hard 5, rescued 2, forgotten 1", "graduated 3")
    assert rows["cost so far"] == "0 forward-equivalent tokens, 1:01"
    assert "evolution" not in rows
    assert "evaluation data, bare" not in dict(epoch_rows(summary, {}, {}, CostMeter(), 1))


# --- the sample that is shown ----------------------------------------------------------------------------------------


def logged(tmp_path: Any, samples: dict[str, list[tuple[str, str, bool]]]) -> RolloutLog:
    log = RolloutLog(tmp_path)
    for i, rows in samples.items():
        log.add_group(i, f"question {i}", "7", [LoggedRollout(t, text, float(ok), ok) for t, text, ok in rows])
    return log


def test_the_sample_failed_bare_and_was_solved_under_a_template(tmp_path: Any) -> None:
    log = logged(tmp_path, {
        "never": [("", "bare 1", False), ("T", "templated", False)],
        "both": [("T", "right", True), ("", "wrong", False), ("", "fine", True)],
        "only": [("T", "good", True)],
    })  # fmt: skip
    sample = choose_sample(log, {})
    assert sample is not None
    assert (sample.id, sample.bare, sample.template, sample.templated) == ("both", "wrong", "T", "right")
    assert dict(sample.rows({"T"}))["template"] == "as before"
    assert failed_bare(log) == {"never": "bare 1", "both": "wrong"}
    other = choose_sample(log, {"only": "failed before"}, shown_before={"both"})
    assert other is not None
    assert (other.id, other.bare) == ("only", "failed before")


def test_without_templates_only_the_failed_answer_is_shown(tmp_path: Any) -> None:
    sample = choose_sample(logged(tmp_path, {"a": [("", "wrong", False)]}), {})
    assert sample is not None
    assert [name for name, _ in sample.rows()] == ["question", "right answer", "bare, failed"]
    assert choose_sample(logged(tmp_path, {"a": [("", "fine", True)]}), {}) is None


# --- the terminal, and off it ----------------------------------------------------------------------------------------

NEWS = EpochNews(2, 5, [("best template", "Show your work. " * 30)], ["a note"])


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns, as it would be written to."""
    out = io.StringIO()
    console = CleanConsole(file=out, force_terminal=True, width=80, color_system=None, soft_wrap=True)
    monkeypatch.setattr(live, "console", console)
    monkeypatch.setattr(display, "console", console)
    monkeypatch.setattr(live, "_board", live._Board())
    return out


def test_off_a_terminal_there_is_one_plain_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    view = TerminalView()
    view.begin(0, 50)
    for step in (1, 2):
        view.step(step, step_cells({**LOG, "step": step, "reward": 0.5}, 50, 9))
        view.at_step(step)
    with Bar(10, "a phase") as bar:
        bar.advance(3)
    view.epoch(NEWS)
    view.step(3, step_cells({**LOG, "step": 3}, 50, 9))
    view.end()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["step", "1/50", "2/50", "--", "best", "a", "step", "3/50"]
    assert not any("\x1b" in line or "'" in line or line.endswith(" ") for line in lines)


def test_at_a_terminal_one_part_is_redrawn_and_the_summaries_stay(screen: io.StringIO) -> None:
    view = TerminalView()
    view.begin(0, 50)
    for step in range(1, 9):
        view.step(step, step_cells({**LOG, "step": step}, 50, 9))
        view.at_step(step)
        live._board.refresh()
    assert live._board.live.is_started
    assert not re.search(r"\d\d:\d\d|--:--", screen.getvalue())  # the time left is in the row, not in the bar too
    evolution = view.evolution("evolution before epoch 2")
    evolution.update(EvolveProgress(1, 40, 100, 4, 1, 2, 0.5, "Keep the carry."))
    live._board.refresh()
    evolution.close()
    view.epoch(NEWS)
    view.end()
    assert not live._board.live.is_started
    text = screen.getvalue()
    assert "best so far (50.0 %): Keep the carry." in text
    assert "40/100" in text
    assert "\x1b[?25l" not in text  # the cursor is never hidden: a killed process could not show it again
    kept = text.rpartition("epoch 2 of 5")[2]
    assert " ".join(kept.split()).count("Show your work.") == 30
    assert all(len(line) <= 80 for line in kept.replace("\r", "").split("\n") if "\x1b" not in line)


def test_a_hidden_bar_and_no_redrawing_when_it_is_not_wanted(screen: io.StringIO) -> None:
    view = TerminalView(redrawn=False)
    view.begin(0, 5)
    view.step(1, step_cells({**LOG, "step": 1}, 5, 9))
    EvolutionBar("x", shown=False).update(EvolveProgress(1, 40, 100, 4, 1, 2, 0.5))
    Bar(3, "hidden", shown=False).close()
    show_above(None)
    assert "\x1b" not in screen.getvalue()
    assert not live._board.live.is_started


def test_a_notebook_shows_one_table_without_markup_of_others() -> None:
    view = NotebookView()
    view.steps = 50
    view.step(3, step_cells({**LOG, "step": 3}, 50, 9))
    view.epoch(EpochNews(1, 5, [("best template", "<script>alert(1)</script>")]))
    view.step(4, step_cells({**LOG, "step": 4}, 50, 9))
    page = view.html()
    assert page.count("<table>") == 2
    assert "epoch 1 of 5" in page
    assert "<script>" not in page


def test_a_notebook_marks_what_is_wrong_once_and_names_the_next_step() -> None:
    view = NotebookView()
    finding = Finding("slow", "3 rescued", "train longer", {"num_train_epochs": 6})
    view.epoch(EpochNews(1, 5, [], findings=[finding]))
    rows = re.findall(r"<tr><th[^>]*>([^<]*)</th><td[^>]*>([^<]*)</td></tr>", view.html())
    assert rows == [("!", "3 rescued"), ("next", "train longer"), ("", "P2OConfig(num_train_epochs=6, …)")]


# --- the callback ----------------------------------------------------------------------------------------------------


def state(step: int, log: list[dict[str, Any]], main: bool = True) -> Any:
    return SimpleNamespace(is_world_process_zero=main, global_step=step, max_steps=9, log_history=log)


def test_every_row_of_the_log_is_written_and_later_rows_are_forgotten_at_a_resume(tmp_path: Any, capsys: Any) -> None:
    args = SimpleNamespace(eval_strategy="epoch", num_train_epochs=1)
    watch = Watch(tmp_path, redrawn=False, verbose=False)
    watch.on_train_begin(args, state(0, []), None)
    log: list[dict[str, Any]] = []
    for step in (1, 2, 3):
        log.append({**LOG, "step": step})
        watch.on_log(args, state(step, log), None)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    again = Watch(tmp_path, redrawn=False, verbose=True)
    again.on_train_begin(args, state(2, log[:2]), None)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]
    again.on_log(args, state(3, log), None)
    assert "p2o/graduated_groups 1" in capsys.readouterr().out


def test_other_ranks_write_and_show_nothing(tmp_path: Any, capsys: Any) -> None:
    watch = Watch(tmp_path, redrawn=False, verbose=True)
    watch.on_train_begin(None, state(0, [], main=False), None)
    watch.on_log(None, state(1, [LOG], main=False), None)
    watch.on_step_end(None, state(1, [LOG], main=False), None)
    watch.on_train_end(None, state(1, [LOG], main=False), None)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


def test_a_row_that_a_kill_cut_off_is_left_out_and_a_damaged_one_is_said(tmp_path: Any) -> None:
    file = tmp_path / "rows.jsonl"
    assert read_rows(file) == []
    write_rows(file, [{"a": 1}])
    append_row(file, {"b": 2})
    with file.open("a") as f:
        f.write('{"c": ')
    assert read_rows(file) == [{"a": 1}, {"b": 2}]
    file.write_text("[1\n")
    with pytest.raises(StateError, match="is damaged"):
        read_rows(file)


def test_the_console_of_the_tests_is_no_terminal() -> None:
    assert isinstance(display.console, Console)
    assert not live.is_live()
