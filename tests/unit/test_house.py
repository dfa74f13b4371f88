"""The house: its rooms, its sizes, its docstrings, and the page that describes it (docs/architecture.md)."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import p2o

SRC = Path(p2o.__file__).parent
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(SRC.rglob("*.py"))
BESIDE_THE_ROOMS = {"__init__.py", "__main__.py", "errors.py", "py.typed"}
MOST_ROOMS = 12
MOST_LINES = 300

ALGORITHM = (
    "samples", "hard", "templates", "distill", "credit", "loop", "methods/base", "methods/grpo", "methods/p2o",
    "evolve/selection", "evolve/budget", "evolve/front", "evolve/pipeline",
)  # fmt: skip
"""What is read in one sitting: all lines count."""
AROUND_IT = (
    "settings", "summary", "methods/load", "evolve/run", "evolve/scorer", "evolve/asking", "evolve/config",
    "evolve/result", "evolve/reflector", "evolve/prompt",
)  # fmt: skip
"""What it stands on: settings, results, journals. Together with it lines of code count."""
MOST_ALGORITHM_LINES = 1500

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def rooms() -> set[str]:
    return {path.name for path in SRC.iterdir() if path.is_dir() and path.name != "__pycache__"}


def core_files(names: Sequence[str]) -> list[Path]:
    return [SRC / "core" / f"{name}.py" for name in names]


# --- rooms and sizes -------------------------------------------------------------------------------------------------


def test_at_the_top_are_rooms_and_four_files() -> None:
    beside = {path.name for path in SRC.iterdir()} - rooms() - {"__pycache__"}
    assert beside == BESIDE_THE_ROOMS
    assert len(rooms()) <= MOST_ROOMS


def test_no_file_is_long() -> None:
    lengths = {str(path.relative_to(SRC)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def lines_of_code(path: Path) -> int:
    """Lines without blank ones, comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in quiet]
    code = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    texts = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    return len(code - {line for n in texts for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)})


def test_the_algorithm_can_be_read_in_one_sitting() -> None:
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in core_files(ALGORITHM)]
    assert sum(lines) < MOST_ALGORITHM_LINES
    assert sum(map(lines_of_code, core_files(ALGORITHM + AROUND_IT))) < MOST_ALGORITHM_LINES


def test_inside_the_package_imports_are_relative() -> None:
    absolute = re.compile(r"^\s*(?:from p2o[. ]|import p2o\b)", re.M)
    assert [str(path.relative_to(SRC)) for path in FILES if absolute.search(path.read_text(encoding="utf-8"))] == []


# --- docstrings ------------------------------------------------------------------------------------------------------


def without_docstring(path: Path) -> Iterator[str]:
    """Public names of a module that say nothing; a method may leave that to the class that it overrides."""
    for node in definitions(ast.parse(path.read_text(encoding="utf-8")).body):
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef):
            silent = [m.name for m in definitions(node.body) if ast.get_docstring(m) is None]
            yield from (f"{node.name}.{name}" for name in silent if not overrides(path, node.name, name))


def definitions(body: list[ast.stmt]) -> list[Definition]:
    return [n for n in body if isinstance(n, Definition) and not n.name.startswith("_")]


def overrides(path: Path, class_name: str, name: str) -> bool:
    """Whether a base of the class has the name too. Where a module's library is not installed (verl) that is not known,
    and its classes are let off."""
    try:
        module = importlib.import_module(".".join(("p2o", *path.relative_to(SRC).with_suffix("").parts)))
    except ModuleNotFoundError as error:
        return not (error.name or "p2o").startswith("p2o")
    return any(name in vars(base) for base in getattr(module, class_name).__mro__[1:])


def test_every_public_name_has_a_docstring() -> None:
    assert [f"{path.relative_to(SRC)}: {name}" for path in FILES for name in without_docstring(path)] == []


# --- settings --------------------------------------------------------------------------------------------------------


def test_the_loops_settings_are_the_same_everywhere() -> None:
    from trl import GRPOConfig

    from p2o import P2OConfig
    from p2o.core.settings import LoopSettings
    from p2o.verl.settings import VerlSettings

    def defaults(settings: type[Any]) -> dict[str, Any]:
        return {f.name: f.default for f in fields(settings)}

    loop = defaults(LoopSettings)
    for settings in (P2OConfig, VerlSettings):
        found = defaults(settings)
        assert {name: found[name] for name in loop} == loop
    assert loop.keys().isdisjoint(defaults(GRPOConfig))  # a name of TRL's would be taken from it


# --- the metrics page ------------------------------------------------------------------------------------------------


def test_all_metrics_are_documented_and_no_others() -> None:
    from p2o.core.metrics import Group, epoch_metrics, group_metrics
    from p2o.core.summary import EpochSummary

    page = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    section = page[page.index("## Metrics") : page.index("**Cost** is in")]
    step, epoch = section.split("After each epoch")

    def named(text: str) -> set[str]:
        return set(re.findall(r"`([\w/]+)`", " ".join(re.findall(r"^\| (`[^|]*)", text, re.M))))

    group = Group("x", templated=[True, False], solved=[True, False], spread=True)
    elsewhere = {"ratio_below", "ratio_above", "ratio_q01", "ratio_q99", "cost", "cost/PHASE", "cost/rollouts",
                 "context_overflow", "skipped_rows", "skipped_steps"}  # fmt: skip
    assert named(step) == {name.removeprefix("p2o/") for name in group_metrics([group], {"x"}, 1)} | elsewhere
    summary = EpochSummary(0, bare_success=0, templated_success=0, paired_bare_success=0, paired_templated_success=0)
    summary.evolved, summary.best_dev_score = True, 0
    assert named(epoch) == {name.removeprefix("p2o/") for name in epoch_metrics(summary)}


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_quotes_the_example() -> None:
    quoted = re.search(r"```python\n(.*?)\n```", PAGE, re.S)
    assert quoted is not None
    assert quoted[1] == (ROOT / "examples" / "methods" / "hint.py").read_text(encoding="utf-8").rstrip("\n")


def test_the_page_has_every_room_in_the_order_of_the_imports() -> None:
    named = re.findall(r"^\| `(\w+)/` \|", PAGE, re.M)
    assert set(named) == rooms()
    layers = re.findall(r'^    "p2o\.([\w. |]+)",', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    order = [name for layer in layers for name in layer.replace("p2o.", "").split(" | ")]
    assert named.index("base") < named.index("core") < named.index("cli")
    level = {name: n for n, layer in enumerate(reversed(layers)) for name in layer.replace("p2o.", "").split(" | ")}
    assert [level[name] for name in named] == sorted(level[name] for name in named)
    assert set(order) - rooms() == {"__main__", "errors"}


def test_the_map_names_files_that_are_there() -> None:
    for room, row in re.findall(r"^\| `(\w+)/` \|(.*)$", PAGE, re.M):
        named = re.findall(r"`(\w+(?:\.py|/))`", row)
        assert named
        assert [name for name in named if not (SRC / room / name).exists()] == []


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`([\w/]+/\w+\.py(?::[\w.]+)?)`", PAGE))))
def test_what_the_page_names_is_there(place: str) -> None:
    file, _, name = place.partition(":")
    path = next((folder / file for folder in (SRC, ROOT) if (folder / file).is_file()), None)
    assert path is not None
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for part in filter(None, name.split(".")):
        found = next((n for n in body if isinstance(n, Definition) and n.name == part), None)
        assert found is not None
        body = found.body
