"""``evolve_beside`` with a real second process: the run repeats however long that takes, and after a kill."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import launch
from helpers import make_trainer
from other_process import SAYS
from p2o.core.epoch_files import read_epoch
from p2o.core.methods.beside import NOTE
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model

kill_resume = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"))
SUPPORT = str(Path(__file__).parents[1] / "support")
EPOCHS = 4


def other_program(how: str) -> Callable[[], None]:
    """A hook that lets a training start tests/support/other_process.py as its second process."""

    def hook() -> None:
        from p2o.runs import second_process

        second_process.PROGRAM = "other_process"
        os.environ |= {"PYTHONPATH": SUPPORT, SAYS: how}

    return hook


def both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def hook() -> None:
        first()
        second()

    return hook


def second_processes(run_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(str(run_dir)) for word in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import p2o.runs.building
    import p2o.trl.trainer  # noqa: F401  (imported once, before the forks)

    path = tmp_path_factory.mktemp("beside") / "small.yaml"
    text = kill_resume["RECIPE"].replace("eval_strategy: epoch\n", "")
    text += f"model_name_or_path: {resolve_model('builtin:sandbox')}\nnum_train_epochs: {EPOCHS}\nevolve_beside: true\n"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """An undisturbed run."""
    run_dir = recipe.parent / "whole"
    assert kill_resume["train"](run_dir, recipe, False) == 0
    return run_dir


def differences(run_dir: Path, whole: Path) -> list[str]:
    fingerprint = kill_resume["fingerprint"]
    return list(kill_resume["differences"]({"found": fingerprint(run_dir)}, fingerprint(whole)))


def test_each_pool_is_used_one_epoch_later(whole: Path) -> None:
    epochs = [read_epoch(whole / "p2o" / f"epoch-{n:03d}.json") for n in range(EPOCHS)]
    assert [e["summary"]["evolved"] for e in epochs] == [False, True, True, False]
    assert [NOTE in e["summary"]["notes"] for e in epochs] == [True, True, False, False]
    assert epochs[0]["summary"]["templated_next"] == 0
    assert epochs[1]["summary"]["templated_next"] > 0
    for number in (2, 3):
        evolution = json.loads((whole / "p2o" / f"evolution-{number:03d}" / "evolution.json").read_text())
        assert evolution["cost"] == epochs[number - 1]["summary"]["evolve_cost"]
        assert not (whole / "p2o" / f"beside-{number:03d}" / "weights").exists()
    cost = json.loads((whole / "p2o" / "cost.json").read_text())
    spent = [e["summary"]["evolve_cost"] for e in epochs[1:3]]
    assert cost["evolve"]["rollouts"] == sum(s["metric_calls"] for s in spent) > 0
    assert cost["evolve"]["generated_tokens"] == sum(s["completion_tokens"] for s in spent)
    assert cost["evolve"]["seconds"] > 0
    assert (whole / "report.html").exists()
    assert second_processes(whole) == []


def test_a_slow_second_process_changes_nothing(recipe: Path, whole: Path) -> None:
    run_dir = recipe.parent / "slow"
    code = kill_resume["train"](run_dir, recipe, False, other_program("slow"))
    assert code == 0
    assert differences(run_dir, whole) == []


@pytest.mark.parametrize("point", ["loss:5", "saved:7"])
def test_killed_between_begin_and_result(point: str, recipe: Path, whole: Path) -> None:
    """loss:5 is in the second epoch, beside which the first evolution runs; saved:7 at its end."""
    run_dir = recipe.parent / point.replace(":", "-")
    hook = both(kill_resume["killer"](point), other_program("slow"))
    assert kill_resume["train"](run_dir, recipe, False, hook) == -9
    psutil.wait_procs(second_processes(run_dir), timeout=10)
    assert second_processes(run_dir) == []
    assert kill_resume["train"](run_dir, recipe, True) == 0
    assert differences(run_dir, whole) == []


def test_a_second_process_that_fails_ends_the_run_with_its_reason_and_the_run_can_go_on(
    recipe: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = recipe.parent / "failing"
    assert kill_resume["train"](run_dir, recipe, False, other_program("failing")) == 2
    said = capfd.readouterr().err
    assert "p2o: the evolution beside training failed: the data has moved; put it back" in said
    assert "to continue: p2o train" in said
    assert "Traceback" not in said
    assert kill_resume["train"](run_dir, recipe, True) == 0
    assert differences(run_dir, whole) == []


def test_an_adapter_and_a_reflector_that_is_the_starting_policy(recipe: Path, tmp_path: Path) -> None:
    """Of a LoRA run the adapter alone is saved, and "self" is a second policy in the second process."""
    path, run_dir = tmp_path / "lora.yaml", tmp_path / "run"
    lines = [
        line for line in recipe.read_text().splitlines() if not line.startswith(("reflector", "pull", "num_train"))
    ]
    more = ["reflector: self", "use_peft: true", "lora_dropout: 0", "num_train_epochs: 3"]
    path.write_text("\n".join([*lines, *more]))
    code = kill_resume["train"](run_dir, path, False)
    assert code == 0
    summary = read_epoch(run_dir / "p2o" / "epoch-001.json")["summary"]
    assert summary["evolved"]
    asked = summary["evolve_cost"]["reflector_calls"]
    # the built-in policy was asked: it has no room for so long a question
    assert summary["evolve_cost"]["reflector_failures"] == {"prompt_too_long": asked}
    assert asked > 0


def test_without_a_recipe_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="evolve_beside evolves in a second process"):
        make_trainer(tmp_path, evolve_beside=True)


def rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "p2o" / "metrics.jsonl").read_text().splitlines()]


def test_the_log_shows_the_evolution_that_was_taken_in(whole: Path) -> None:
    pools = [row["epoch"] for row in rows(whole) if "p2o/pool" in row]
    assert pools == [2.0, 3.0]


def test_two_ranks_wait_for_one_second_process_and_agree(recipe: Path, tmp_path: Path) -> None:
    two = tmp_path / "two.yaml"
    two.write_text(recipe.read_text().replace("per_device_train_batch_size: 16", "per_device_train_batch_size: 8"))
    launch.run("ddp", Path(SUPPORT) / "beside_ranks.py", str(two), str(tmp_path))
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first["world"] == 2
    assert first["loop"] == second["loop"]
    assert first["weights"] == second["weights"]
    epochs = [read_epoch(tmp_path / "run" / "p2o" / f"epoch-{n:03d}.json")["summary"] for n in range(EPOCHS)]
    assert [e["evolved"] for e in epochs] == [False, True, True, False]
    assert epochs[1]["templated_next"] > 0
