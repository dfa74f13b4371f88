"""Dead rows left out under DDP: ranks with nothing to do join every forward, and the weights are the full batch's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("ddp")
    here = Path(__file__).parents[1] / "support"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29597"]
    done = subprocess.run(
        [*command, str(here / "dead_rows_ranks.py"), str(out)],
        env={**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo"])
def test_one_rank_all_dead_with_gradient_accumulation(ranks, loss_type):
    first, second = (rank[loss_type] for rank in ranks)
    for rank in (first, second):
        # two steps of two micro-batches, on every rank, whatever is alive there
        assert rank["skipped"]["forwards"] == rank["full"]["forwards"] == 4
        # Adam's state of every parameter went on in both steps: gradients were zero, not None
        assert rank["skipped"]["optimizer_steps"] == [2.0]
        assert rank["skipped"]["parameters_with_state"] == rank["full"]["parameters_with_state"]
        assert rank["skipped"]["trained_tokens"] < rank["full"]["trained_tokens"]
        assert rank["difference"] < 1e-5
    assert first["digest"] == second["digest"]
