"""``p2o completion``: what a real bash completes with the script."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from p2o.cli.completion import SHELLS
from p2o.cli.main import main

ASK = """
source "$1"
read -ra COMP_WORDS <<< "$2"
[[ "$2" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_p2o
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    with pytest.MonkeyPatch.context() as patch:
        from p2o.cli import completion

        printed: list[str] = []
        patch.setattr(completion.console, "print", lambda text, **_: printed.append(text))
        assert main(["completion", "bash"]) == 0
    (folder / "p2o.bash").write_text(printed[0])
    (folder / "mine.yaml").write_text("tau: 2")
    return folder / "p2o.bash"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("p2o tra", ["train"]),
        ("p2o train qui", ["quickstart", "quickstart-tools"]),
        ("p2o screen mi", ["mine.yaml"]),
        ("p2o train quickstart --dry", ["--dry-run"]),
        ("p2o train quickstart --hard", ["--hard_min_count"]),
        ("p2o evolve quickstart --withdrawal ", ["solved", "graduated", "smoothed"]),
        ("p2o train quickstart --skip_dead_rows t", ["true"]),
        ("p2o compare quickstart --arm", ["--arms"]),
        ("p2o report --tau", []),
    ],
)
def test_bash_completes(line: str, wanted: list[str], script: Path) -> None:
    asked = subprocess.run(
        ["bash", "-c", ASK, "_", str(script), line], capture_output=True, text=True, cwd=script.parent, check=True
    )
    assert asked.stdout.split() == wanted, asked.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "hard_min_count" in out
    assert "fewer samples than this are hard" in out or shell == "bash"  # bash shows no descriptions
