"""A method of one's own: the documented example trains, resumes and is compared; its hooks are honoured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from helpers import KillAt, KilledError, hard_rows, letters, make_trainer, settings
from p2o.cli.main import main
from p2o.core.epoch_files import read_epoch
from p2o.core.methods import Method
from p2o.errors import ConfigError
from p2o.generation.models import resolve_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "methods" / "hint.py"
HINT = f"{EXAMPLE}:Hint"
EPOCHS = 8


class Identity(Method):
    """Returns the order that it is given, and counts its calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.epochs: list[int] = []

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        self.epochs.append(epoch)
        return list(ids)


class HalfTwice(Method):
    """Draws every second sample twice, and the others in the next epoch."""

    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        return [i for i in sorted(ids)[epoch % 2 :: 2] for _ in range(2)]


class TooFew(Method):
    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        return ids[:-1]


class Strangers(Method):
    def order(self, ids: Sequence[str], epoch: int) -> Sequence[str]:
        return [f"{i}?" for i in ids]


class OneText(Method):
    def prompts(self, sample_id: str) -> Sequence[str]:
        return "Think."


class OneSlot(Method):
    def prompts(self, sample_id: str) -> Sequence[str]:
        return ["Think."]


def trainer_of(folder: Path, method: str, **changes: Any) -> Any:
    """Eight hard sums, one step an epoch."""
    changes = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 32, "save_strategy": "epoch", **changes}
    return make_trainer(folder, rows=8, method=method, **changes)


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def epoch_files(folder: Path) -> dict[str, Any]:
    return {path.name: read_epoch(path) for path in sorted((folder / "p2o").glob("epoch-*.json"))}


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example, trained without a disturbance."""
    trainer = trainer_of(tmp_path_factory.mktemp("hint") / "run", HINT)
    trainer.train()
    return trainer


# --- the documented example ------------------------------------------------------------------------------------------


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 50


def test_the_example_teaches_the_bare_prompt_what_grpo_does_not_learn(hinted: Any, tmp_path: Path) -> None:
    grpo = trainer_of(tmp_path, "grpo", save_strategy="no")
    grpo.train()
    held_out = hard_rows(32, "test")
    assert grpo.evaluate(held_out)["eval_bare_success"] == 0
    assert hinted.evaluate(held_out)["eval_bare_success"] > 0.2
    epochs = [row for row in hinted.state.log_history if "p2o/graduated" in row]
    assert epochs[0]["p2o/templated_next"] == 8  # all failed, all get the hint
    assert epochs[-1]["p2o/graduated"] >= 6


def test_the_last_slot_stays_bare_and_the_hint_is_withdrawn(hinted: Any) -> None:
    files = list(epoch_files(hinted.run_dir).values())
    for before, after in pairwise(files):
        assert after["tallies"].keys() == hinted.loop.samples.keys()
        for sample_id, tally in after["tallies"].items():
            under_hint = sample_id in before["assignment"]
            assert (tally.templated, tally.bare) == ((3, 1) if under_hint else (0, 4))
            if tally.bare_solved and after is not files[-1]:  # nothing is decided after the last epoch
                assert sample_id not in after["assignment"]


def test_killed_and_resumed_the_example_ends_with_the_same_weights(hinted: Any, tmp_path: Path) -> None:
    killed = trainer_of(tmp_path / "run", HINT)
    killed.add_callback(KillAt(5))
    with pytest.raises(KilledError):
        killed.train()
    assert killed.loop.method.hinted
    resumed = trainer_of(tmp_path / "run", HINT)
    assert not resumed.loop.method.hinted
    resumed.train(resume_from_checkpoint=True)
    for name, weights in weights_of(hinted).items():
        assert torch.equal(weights_of(resumed)[name], weights), name
    assert resumed.loop.state_dict() == hinted.loop.state_dict()
    assert epoch_files(resumed.run_dir) == epoch_files(hinted.run_dir)


def test_the_example_is_an_arm_of_a_comparison(tmp_path: Path) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "out"
    shutil.copy(EXAMPLE, tmp_path)
    recipe.write_text(
        "base: quickstart\nmax_train_samples: 8\nnum_train_epochs: 2\nnum_generations: 4\n"
        "per_device_train_batch_size: 32\nmax_completion_length: 16\neval: null\ntest: builtin:sandbox/dev\n"
        "arms: {hint: {method: hint.py:Hint}}\n"  # beside the recipe
    )
    assert main(["compare", str(recipe), "--seeds", "1", "--arms", "hint", "--out", str(out)]) == 0
    (arm,) = json.loads((out / "compare.json").read_text())["arms"]
    assert arm["name"] == "hint"
    assert "One hint for all samples" in arm["what"]
    epochs = epoch_files(out / "hint" / "seed-0").values()
    assert [bool(epoch["assignment"]) for epoch in epochs] == [True, True]
    assert (out / "hint" / "seed-0" / "report.html").exists()
    card = (out / "hint" / "seed-0" / "README.md").read_text()
    assert "the method `hint.py:Hint` on GRPO" in card


# --- hook order ------------------------------------------------------------------------------------------------------


def test_an_order_with_repetitions_is_drawn(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, f"{__file__}:HalfTwice", num_train_epochs=3, save_strategy="no")
    trainer.train()
    ids = sorted(trainer.loop.samples)
    drawn = [{i: tally.bare for i, tally in file["tallies"].items()} for file in epoch_files(tmp_path).values()]
    assert drawn == [dict.fromkeys(ids[part::2], 8) for part in (0, 1, 0)]


def test_with_the_order_unchanged_a_run_equals_trls_to_the_bit(tmp_path: Path) -> None:
    shared = {"num_train_epochs": 3, "per_device_train_batch_size": 16}
    ours = make_trainer(
        tmp_path / "ours", letters, rows=8, method=f"{__file__}:Identity", skip_dead_rows=False, **shared
    )
    start = weights_of(ours)
    ours.train()
    theirs = GRPOTrainer(
        resolve_model("builtin:sandbox"),
        letters,
        GRPOConfig(**settings(tmp_path / "theirs", **shared)),
        train_dataset=hard_rows(8),
    )
    theirs.train()
    assert ours.loop.method.epochs == [0, 1, 2]
    for name, weights in weights_of(theirs).items():
        assert torch.equal(weights_of(ours)[name], weights), name
    assert any(not torch.equal(start[name], weights) for name, weights in weights_of(theirs).items())


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("TooFew", "'order' returned 7 ids for epoch 0, 7 of them .*; return 8"),
        ("Strangers", "'order' returned 8 ids for epoch 0, 0 of them of the training data"),
        ("OneText", "'prompts' returned 'Think.' for sample .* a list of 4 texts"),
        ("OneSlot", "'prompts' returned .'Think.'. for sample .* a list of 4 texts"),
    ],
)
def test_what_a_hook_returns_is_checked(tmp_path: Path, method: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        trainer_of(tmp_path, f"{__file__}:{method}", save_strategy="no").train()


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("nofile.py:Hint", "there is no file nofile.py"),
        (f"{EXAMPLE}:Hnt", "has no class 'Hnt' (did you mean Hint?)"),
        (f"{EXAMPLE}:HINT", "has no class 'HINT'"),
        ("pathlib:Path", "derive the class from p2o.core.methods.Method"),
        ("nomodule_of_mine:Hint", "No module named 'nomodule_of_mine'"),
        ("broken.py:Hint", "SyntaxError"),
        ("raising.py:Hint", "NameError: name 'hint' is not defined"),
        ("hint", "there is no method 'hint'; use one of grpo, p2o, dapo, "),
    ],
)
def test_a_wrong_method_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.py").write_text("class Hint(:\n")
    Path("raising.py").write_text("# A method.\nhint()\n")
    assert main(["train", "quickstart", "--method", method, "--dry-run"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("p2o: ")
    assert says in sentence


def test_the_plan_of_a_method_without_evolutions_counts_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "quickstart", "--method", HINT, "--dry-run"]) == 0
    assert "prompt steps none" in capsys.readouterr().out
