"""Two processes agree on everything the loop decides; rank 0 drives the evolution, the other serves rollouts."""

import json
from pathlib import Path

import pytest

import launch
from p2o.core.epoch_files import read_epoch

SCRIPT = Path(__file__).parents[1] / "support" / "two_ranks.py"


def run_two_ranks(kind, tmp_path, *more):
    launch.run(kind, SCRIPT, tmp_path, *more)
    return [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_ranks_agree_and_go_on_after_a_kill(tmp_path, kind):
    first, second = run_two_ranks(kind, tmp_path)
    assert first["world"] == 2
    assert first["sharded"] == (kind == "fsdp2")
    assert first["loop"] == second["loop"]
    assert first["weights"] == second["weights"]
    # 12 samples × 4 rollouts × 2 epochs, half of them on each rank
    assert first["cost"] == second["cost"] == 48
    epoch = read_epoch(tmp_path / "run" / "p2o" / "epoch-000.json")
    assert epoch["summary"]["hard"] == 12
    assert epoch["summary"]["evolved"]
    assert sum(t.bare for t in epoch["tallies"].values()) == 48
    assert first["loop"]["needed"] == sorted(epoch["assignment"])
    assert len(epoch["assignment"]) > 0
    # as if killed before the last checkpoint was whole: from the one before it, both end as they did
    (tmp_path / "run" / "checkpoint-8" / "trainer_state.json").unlink()
    again = run_two_ranks(kind, tmp_path, "resume")
    for rank in again:
        assert rank["loop"] == first["loop"]
        assert rank["weights"] == first["weights"]
    assert again[0]["cost"] + again[1]["cost"] == 96  # the first rank goes on from the counts of both
