"""Nothing that a model, a server or a data set wrote is obeyed by the terminal, wherever it is printed."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from trl.trainer import utils

import p2o
from p2o.base.terminal import CleanConsole, tell
from p2o.base.text import clean_text, one_line, shorten
from p2o.cli.main import main

HOSTILE = {
    "the clipboard": "a\x1b]52;c;aGVsbG8=\x07b",
    "the clipboard, other end": "a\x1b]52;c;aGVsbG8=\x1b\\b",
    "the clipboard, C1": "a\x9d52;c;aGVsbG8=\x9cb",
    "a link": "a\x1b]8;;http://example.org\x1b\\b",
    "the title": "a\x1b]0;title\x07b",
    "erasing": "a\x1b[2Jb",
    "erasing, C1": "a\x9b2Jb",
    "the cursor": "a\x1b[1;1Hb",
    "a colour": "a\x1b[31mb",
    "a device string": "a\x1bP1$r0m\x1b\\b",
    "a reset": "a\x1bcb",
    "a character set": "a\x1b(0b",
    "a bell": "a\x07b",
    "back space": "a\x08b",
    "NUL": "a\x00b",
    "DEL": "a\x7fb",
    "right to left": "a\u202eb\u202c",
    "isolates": "a\u2067b\u2069",
    "marks": "a\u200f\u061cb",
    "tags": "a\U000e0041b",
    "half of a sequence": "a\x1b",
    "a sequence in a sequence": "a\x1b\x1b[2J[2Jb",
}


def unsafe(text: str) -> set[str]:
    """What a terminal would obey or hide."""
    return {c for c in text if (ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2067\u200f"}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_whole_sequence_goes(text: str) -> None:
    cleaned = clean_text(text)
    assert not unsafe(cleaned)
    if "sequence" not in text and "half" not in text:
        assert set(cleaned) <= {"a", "b", "[", "2", "J"}


def test_honest_text_stays() -> None:
    honest = "naïve\tcafé\n→ 日本語 עברית 👩‍👩‍👧 \\boxed{½} [bold]x[/] می‌خواهم"
    assert clean_text(honest) == honest
    assert clean_text("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    assert clean_text("\ud800") == "?"


@given(st.text())
def test_cleaning_is_idempotent_and_total(text: str) -> None:
    assert not unsafe(clean_text(text))
    assert clean_text(clean_text(text)) == clean_text(text)


@pytest.mark.parametrize("unit", ["\x1b]", "\x9d", "\x1b[", "\x1b", "\x1b]a", "\x9b1;"])
def test_cleaning_takes_linear_time(unit: str) -> None:
    assert not unsafe(clean_text(unit * 200_000))


def test_one_line_is_cleaned_and_cut() -> None:
    assert one_line("first\nsecond \x1b[2J third") == "first second third"
    assert len(one_line("x" * 1000, 50)) == 50
    assert shorten("abcdefghijklmnop", 10) == "abc […] op"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_console_cleans_whatever_it_prints(text: str) -> None:
    out = io.StringIO()
    console = CleanConsole(file=out)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    for thing in (text, Text(text, style="dim"), table, {"key": text}, Text("x").append(text)):
        console.print(thing)
    console.print("as it stands: [red]x[/red] :smile:")
    assert not unsafe(out.getvalue())
    assert "[red]x[/red] :smile:" in out.getvalue()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_trls_table_of_completions_is_cleaned(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    import p2o.trl.watching  # noqa: F401

    chat = [{"role": "user", "content": text}]
    utils.print_prompt_completions_sample(
        [chat, text], [chat, text], {text: [0.0, 1.0]}, None, 1, None, {"f": [text] * 2}
    )
    out = capsys.readouterr().out
    assert "USER" in out
    assert not unsafe(out)
    assert len(out.splitlines()) > 8  # a table still


def test_the_summary_of_an_epoch_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    from p2o.core.display import EpochNews, TerminalView
    from p2o.core.shown import ShownSample

    for text in HOSTILE.values():
        sample = ShownSample(text, text, text, text, text, text)
        TerminalView().epoch(EpochNews(1, 5, [("best template", text)], [text], [], sample.rows()))
    out = capsys.readouterr().out
    assert "best template" in out
    assert not unsafe(out)


def test_styles_of_our_own_still_show() -> None:
    out = io.StringIO()
    CleanConsole(file=out, force_terminal=True, color_system="standard").print(Text("x", style="bold"))
    assert out.getvalue() == "\x1b[1mx\x1b[0m\n"


def test_a_terminal_without_the_character_gets_a_question_mark() -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    CleanConsole(file=terminal).print("→ é x")
    terminal.seek(0)
    assert terminal.read() == "? ? x\n"


def test_errors_are_cleaned_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell("cannot read \x1b]52;c;eA==\x07a\u202eb.jsonl\nsecond line")
    assert capsys.readouterr().err == "p2o: cannot read ab.jsonl second line\n"


@pytest.mark.parametrize(
    "text", [t for t in HOSTILE.values() if "\x00" not in t], ids=[n for n in HOSTILE if n != "NUL"]
)
def test_file_names_on_the_command_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["train", f"{text}.yaml"], ["train", "quickstart", f"--{text}", "1"], ["report", text],
                      ["data", "deepscaler", "--source", f"{text}.jsonl"]):  # fmt: skip
        assert main(arguments) == 2
        out = capsys.readouterr()
        assert not unsafe(out.out + out.err)


def test_unforeseen_errors_warnings_and_log_lines_of_a_command_are_cleaned() -> None:
    script = (
        "import logging, warnings, p2o.cli.main as m\n"
        "bad = 'bad \\x1b[2J\\u202e\\x00text'\n"
        "def broken(*_):\n"
        "    warnings.warn('warned: ' + bad)\n"
        "    logging.getLogger('p2o.x').warning('logged: %s', bad)\n"
        "    raise ValueError(bad)\n"
        "m.run_command = broken\nm.main(['recipes'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    for line in ("UserWarning: warned: bad text", "logged: bad text", "ValueError: bad text"):
        assert line in done.stderr
    assert not unsafe(done.stderr)


def test_a_warning_of_our_own_is_one_line_and_one_of_a_library_is_pythons(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text("import warnings\ndef warn():\n    warnings.warn('of a library')\n")
    row = '{"prompt": "a", "answer": "b"}\n'
    (tmp_path / "rows.jsonl").write_text(row + row)
    script = (
        "import p2o.cli.main as m, library\n"
        "def command(*_):\n"
        "    library.warn()\n"
        "    from p2o.runs.building import samples_of\n"
        "    from p2o.runs.recipe import load_recipe\n"
        "    samples_of(load_recipe('quickstart', ['--train', 'rows.jsonl']), 'train')\n"
        "    return 0\n"
        "m.run_command = command\nm.main(['recipes'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "note: rows.jsonl: left out 1 of 2 rows (same prompt and answer as an earlier row)" in lines
    assert any(line.endswith("library.py:3: UserWarning: of a library") for line in lines)
    assert "building.py" not in done.stderr


def test_there_is_no_other_door() -> None:
    """Only `base/terminal.py` prints, and only it makes a console."""
    source = Path(p2o.__file__).parent
    found = []
    for path in source.rglob("*.py"):
        if path == source / "base" / "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("print", "Console", "sys.stdout.write", "sys.stderr.write", "rich.print", "os.write"):
                found.append(f"{path.relative_to(source)}:{node.lineno} {name}")
    assert found == []
