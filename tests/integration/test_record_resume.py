"""What a run records for its report: nothing stands twice after a resume, and nothing is missing."""

import json
import shutil

from helpers import ALL_FOUR, make_trainer
from p2o.analysis.report import write_report
from p2o.core.evolve import Reply


def reflect(jobs):
    return [Reply(f"```\n{ALL_FOUR}\n```") for _ in jobs]


def trainer(folder, **changes):
    return make_trainer(
        folder, rows=8, reflector=reflect, num_train_epochs=2, save_strategy="steps", save_steps=1,
        hard_min_count=2, dev_size=2, evolve_budget="24", evolve_max_iterations=1, withdrawal="graduated", **changes,
    )  # fmt: skip


def recorded(folder):
    return {p.name: json.loads(p.read_text()) for p in sorted((folder / "p2o").glob("rollouts-*.json"))}


def test_a_resumed_run_records_what_an_undisturbed_one_does(tmp_path):
    trainer(tmp_path / "whole").train()
    whole = recorded(tmp_path / "whole")
    assert list(whole) == ["rollouts-000.json", "rollouts-001.json"]
    assert len(whole["rollouts-000.json"]["samples"]) == 8
    assert whole["rollouts-001.json"]["templates"] == [ALL_FOUR]
    assert sum(map(sum, whole["rollouts-001.json"]["ratio_counts"].values())) > 0
    # Killed in the middle of the second epoch: its last step is replayed, over the file that it left.
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoint-4")
    again = trainer(tmp_path / "killed")
    again.train(resume_from_checkpoint=str(tmp_path / "killed" / "checkpoint-3"))
    assert again.state.global_step == 4
    assert recorded(tmp_path / "killed") == whole
    assert write_report([tmp_path / "killed"]).stat().st_size < 500_000
