"""docs/guide.md does what it says: its files are written, its commands and its Python snippets run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2o.cli.main import main
from servers import Answer, ScriptedServer

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
BLOCK = re.compile(r"^(?:`(?P<file>\w+\.\w+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PLACEHOLDER_URL = "http://127.0.0.1:8000/v1"
TEMPLATE = "Show your work. Go from right to left. Carry the ones. State the total at the end."


def blocks() -> list[dict[str, str]]:
    return [match.groupdict() for match in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ScriptedServer]]:
    """A folder with the guide's files, as working directory, and the teacher's server."""
    folder = tmp_path_factory.mktemp("guide")
    with ScriptedServer([Answer(f"```\n{TEMPLATE}\n```")]) as server, pytest.MonkeyPatch.context() as patch:
        for block in blocks():
            if block["file"]:
                (folder / block["file"]).write_text(block["text"].replace(PLACEHOLDER_URL, server.url))
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        yield folder, server
        sys.modules.pop("own_reward", None)


COMMANDS = [
    line for b in blocks() if b["kind"] == "bash" for line in b["text"].replace("\\\n", " ").splitlines() if line
]
SNIPPETS = [b["text"] for b in blocks() if b["kind"] == "python" and not b["file"]]


def test_the_guide_covers_what_it_should() -> None:
    assert len(COMMANDS) == 7
    assert len(SNIPPETS) == 6
    assert {b["file"] for b in blocks() if b["file"]} == {
        "own.jsonl", "own.yaml", "own_reward.py", "own_format.yaml", "own_teacher.yaml"
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, workplace: tuple[Path, ScriptedServer], capsys: pytest.CaptureFixture[str]) -> None:
    folder, server = workplace
    words = shlex.split(command)
    asked = len(server.requests)
    code = main([*words[1:], *([] if "--dry-run" in words else ["--disable_tqdm", "true"])])
    assert code == 0, capsys.readouterr().err
    if "teacher" in command:
        assert len(server.requests) > asked
    if "--output_dir" in words:
        assert (folder / words[-1] / "README.md").is_file()
    if words == ["p2o", "train", "own.yaml"]:
        assert (folder / "runs" / "own" / "checkpoint-4").is_dir()  # as the end of the guide says
        assert (folder / "runs" / "own" / "p2o" / "pool.md").is_file()


def test_the_reflector_reads_the_feedback(workplace: tuple[Path, ScriptedServer]) -> None:
    _, server = workplace
    arguments = ["own_teacher.yaml", "--rewards", "own_reward.py:score", "--output_dir", "runs/feedback"]
    assert main(["train", *arguments, "--disable_tqdm", "true"]) == 0
    assert "The sum is wrong by" in server.requests[-1]["messages"][-1]["content"]


def test_python(workplace: tuple[Path, ScriptedServer]) -> None:
    folder, server = workplace
    namespace: dict[str, Any] = {}
    asked = len(server.requests)
    for snippet in SNIPPETS:
        exec(compile(snippet.replace(PLACEHOLDER_URL, server.url), str(GUIDE), "exec"), namespace)
    assert len(server.requests) > asked
    runs = sorted(path.name for path in (folder / "runs").glob("*-python"))
    assert runs == [f"own{part}-python" for part in ("-format", "-lora", "", "-reward", "-system", "-teacher")]
    assert namespace["trainer"].loop.next_epoch == 2
