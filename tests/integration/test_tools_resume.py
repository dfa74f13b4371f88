"""With tools: a killed run ends as the undisturbed one, and two processes agree on what the loop decides."""

import json
from pathlib import Path

import pytest

import launch

SCRIPT = Path(__file__).parents[1] / "support" / "tool_ranks.py"


def run(kind, tmp_path, *more):
    launch.run(kind, SCRIPT, tmp_path, kind, *more)
    return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(1 + (kind == "ddp"))]


@pytest.mark.parametrize("kind", ["single", "ddp"])
def test_ranks_agree_and_go_on_after_a_kill(tmp_path, kind):
    ranks = run(kind, tmp_path)
    assert all(rank["world"] == len(ranks) for rank in ranks)
    assert all(rank["loop"] == ranks[0]["loop"] and rank["weights"] == ranks[0]["weights"] for rank in ranks)
    assert sum(rank["cost"]["rollout"]["rollouts"] for rank in ranks) == 96
    epoch = json.loads((tmp_path / "run" / "p2o" / "epoch-000.json").read_text())
    assert epoch["summary"]["evolved"]
    assert epoch["assignment"]
    assert ranks[0]["cost"]["evolve"]["rollouts"] > 0
    assert ranks[0]["failed"] > 0
    # as if killed before the last checkpoint was whole: from the one before it, it ends as it did
    checkpoints = sorted((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (checkpoints[-1] / "trainer_state.json").unlink()
    again = run(kind, tmp_path, "resume")
    for first, second in zip(ranks, again, strict=True):
        assert second["loop"] == first["loop"]
        assert second["weights"] == first["weights"]
    if kind == "single":
        assert again[0]["cost"] == ranks[0]["cost"]
