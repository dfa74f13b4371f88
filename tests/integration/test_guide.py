"""docs/guide.md does what it says: its files are written, its commands and its Python snippets run.

The first example runs as it stands, and must learn. The other ones run on a part of its data.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2o.base.files import read_json
from p2o.cli.main import main
from servers import Answer, ScriptedServer

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
BLOCK = re.compile(r"^(?:`(?P<file>\w+\.\w+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PLACEHOLDER_URL = "http://127.0.0.1:8000/v1"
TEMPLATE = "Show your work. Go from right to left. Carry the ones. State the total at the end."
SHORT = ["--max_train_samples", "16", "--num_train_epochs", "2", "--per_device_train_batch_size", "24",
         "--hard_min_count", "4", "--dev_size", "4", "--evolve_budget", "60", "--test", "null"]  # fmt: skip
SHORT_PYTHON = {
    "num_train_epochs=5": "num_train_epochs=2",
    "per_device_train_batch_size=96": "per_device_train_batch_size=24",
    "hard_min_count=14": "hard_min_count=4",
    "dev_size=32": "dev_size=4",
    '"488"': '"60"',
    '"builtin:sandbox-tools/train")': '"builtin:sandbox-tools/train", columns=DataColumns(limit=16))',
    'prompt_column="question"': 'prompt_column="question", limit=16',
}


def blocks() -> list[dict[str, str]]:
    return [match.groupdict() for match in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]


COMMANDS = [
    line for b in blocks() if b["kind"] == "bash" for line in b["text"].replace("\\\n", " ").splitlines() if line
]
EXAMPLE, FURTHER = COMMANDS[:5], COMMANDS[5:]
SNIPPETS = [b["text"] for b in blocks() if b["kind"] == "python" and not b["file"]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ScriptedServer]]:
    """A folder with the guide's files, its data and recipe too, as working directory, and the teacher's server."""
    folder = tmp_path_factory.mktemp("guide")
    with ScriptedServer([Answer(f"```\n{TEMPLATE}\n```")]) as server, pytest.MonkeyPatch.context() as patch:
        for block in blocks():
            if block["file"]:
                (folder / block["file"]).write_text(block["text"].replace(PLACEHOLDER_URL, server.url))
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        runpy.run_path("make_data.py")
        assert main(shlex.split(EXAMPLE[1])[1:]) == 0
        yield folder, server
        sys.modules.pop("own_reward", None)


def test_the_guide_covers_what_it_should() -> None:
    assert [shlex.split(command)[:2] for command in EXAMPLE] == [
        ["python", "make_data.py"], ["p2o", "init"], ["p2o", "screen"], ["p2o", "train"], ["p2o", "train"]
    ]  # fmt: skip
    assert len(FURTHER) == 5
    assert len(SNIPPETS) == 7
    assert {b["file"] for b in blocks() if b["file"]} == {
        "make_data.py", "own_reward.py", "own_format.yaml", "own_teacher.yaml"
    }  # fmt: skip


def test_the_screen_says_that_the_example_is_worth_it(
    workplace: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(EXAMPLE[2])[1:]) == 0
    assert any(line.startswith("worth it: ") for line in capsys.readouterr().out.splitlines())


def test_the_example_learns(workplace: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = workplace
    assert main(shlex.split(EXAMPLE[3])[1:]) == 0
    started = time.process_time()
    assert main([*shlex.split(EXAMPLE[4])[1:], "--disable_tqdm", "true"]) == 0, capsys.readouterr().err
    result = read_json(folder / "runs" / "own" / "p2o" / "result.json")
    key = "test_bare_success"
    assert result["after"][key] - result["before"][key] >= 0.5
    assert time.process_time() - started < 240  # two minutes on two cores
    assert (folder / "runs" / "own" / "checkpoint-30").is_dir()  # as the end of the guide says
    assert (folder / "runs" / "own" / "p2o" / "pool.md").is_file()


@pytest.mark.parametrize("command", FURTHER)
def test_commands(command: str, workplace: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]) -> None:
    folder, server = workplace
    words = shlex.split(command)
    asked = len(server.requests)
    code = main([*words[1:], *SHORT, "--disable_tqdm", "true"])
    assert code == 0, capsys.readouterr().err
    if "teacher" in command:
        assert len(server.requests) > asked
        assert "without the work" in server.requests[-1]["messages"][-1]["content"]  # the reward's own feedback
    if "--output_dir" in words:
        assert (folder / words[-1] / "README.md").is_file()


def test_python(workplace: tuple[Path, ScriptedServer]) -> None:
    folder, server = workplace
    namespace: dict[str, Any] = {}
    asked = len(server.requests)
    for snippet in SNIPPETS:
        for whole, part in {PLACEHOLDER_URL: server.url, **SHORT_PYTHON}.items():
            snippet = snippet.replace(whole, part)
        exec(compile(snippet, str(GUIDE), "exec"), namespace)
    assert len(server.requests) > asked
    runs = sorted(path.name for path in (folder / "runs").glob("*-python"))
    assert runs == [f"own{part}-python" for part in ("-format", "-lora", "", "-system", "-teacher", "-tools", "-two")]
    assert namespace["train"]("last", namespace["rewards"], namespace["data"].select(range(8))).loop.next_epoch == 2
