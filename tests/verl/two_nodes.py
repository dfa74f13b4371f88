"""A verl command on a Ray cluster of two nodes on this machine, each with one "GPU" (a program of its own).

    python tests/verl/two_nodes.py OVERRIDES…

The nodes' processes share nothing but Ray: each has its raylet and its object store. Prints each node's id, then what
verl prints.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ray.cluster_utils import Cluster

NODES = 2
TWO_NODES = [
    f"trainer.nnodes={NODES}",
    f"actor_rollout_ref.rollout.agent.num_workers={NODES}",
    f"reward.num_workers={NODES}",
    f"transfer_queue.backend.SimpleStorage.num_data_storage_units={NODES}",
]


def main(overrides: list[str]) -> int:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 16, "num_gpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=16, num_gpus=1)
    print("nodes", *(node.node_id for node in cluster.list_all_nodes()), flush=True)
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *overrides, *TWO_NODES]
    try:
        return subprocess.run(command, env=os.environ | {"RAY_ADDRESS": cluster.address}).returncode
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
