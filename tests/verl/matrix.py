"""What a verl user sets, run with P²O on a CPU: two steps each, an evolution between them.

    python tests/verl/matrix.py OUT [ROW …]        # all rows, or some; rows that OUT/matrix.json has are not run again

The first step has no templates: its gradient is compared with stock verl's under the same settings. The second one is
drawn under templates, with the gradient on the bare prompt. With ``RAY_ADDRESS`` the runs share that cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiny_run import MULTI_TURN, P2O, metrics, start, write_data

ONE_EPOCH_A_STEP = [
    "data.train_batch_size=16",
    "actor_rollout_ref.actor.ppo_mini_batch_size=16",
    "trainer.save_freq=-1",
    "++p2o.evolve_budget=60",
]
TWO_STEPS = "trainer.total_training_steps=2"
ACTOR, ROLLOUT, LOSS = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.actor.policy_loss"
REWARD_MANAGER = "reward.reward_manager"
REFERENCE = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16"

ROWS: Mapping[str, Sequence[str]] = {
    "nothing": [],
    # Against the starting policy KL is 0 until an update: the second PPO epoch of the first step has some.
    "KL loss, two PPO epochs": [
        f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_coef=0.1", f"{ACTOR}.ppo_epochs=2", REFERENCE,
    ],
    "KL in reward": ["algorithm.use_kl_in_reward=True", "algorithm.kl_ctrl.kl_coef=0.1", REFERENCE],
    "entropy": [f"{ACTOR}.entropy_coeff=0.01"],
    "seq-mean-token-sum": [f"{ACTOR}.loss_agg_mode=seq-mean-token-sum"],
    "seq-mean-token-mean": [f"{ACTOR}.loss_agg_mode=seq-mean-token-mean"],
    # Without a factor verl divides by the longest response of a micro-batch, and draws anew which rows are in one.
    "seq-mean-token-sum-norm": [f"{ACTOR}.loss_agg_mode=seq-mean-token-sum-norm", f"{ACTOR}.loss_scale_factor=56"],
    "gspo": [f"{LOSS}.loss_mode=gspo"],
    "cispo": [f"{LOSS}.loss_mode=cispo"],
    "TIS": ["algorithm.rollout_correction.rollout_is=token"],
    "LoRA": [  # the shim's server takes whole weights
        "actor_rollout_ref.model.lora_rank=8",
        "actor_rollout_ref.model.lora_alpha=16",
        "actor_rollout_ref.model.lora.merge=True",
    ],
    "two data files, a reward manager, validation before training": [
        "data.train_files=[OUT/first.parquet,OUT/second.parquet]", f"{REWARD_MANAGER}.name=dapo",
        "trainer.val_before_train=True", "trainer.test_freq=1",
    ],
    "tools": [*MULTI_TURN, f"{ROLLOUT}.agent.default_agent_loop=tool_agent"],
    "max_cost": ["+p2o.max_cost=1"],
    "filter_groups": ["algorithm.filter_groups.enable=True"],
}  # fmt: skip
SECOND_STEP = ("KL in reward",)
"""Rows that make no difference before an update: second steps without templates are compared."""


def run_row(out: Path, name: str) -> dict[str, Any]:
    """The outcome of a row: figures of P²O's two steps and of stock verl's first one, or what was said."""
    out.mkdir(parents=True, exist_ok=True)
    split_data(out)
    changes = [*ONE_EPOCH_A_STEP, *(change.replace("OUT", str(out)) for change in ROWS[name])]
    own = attempt(out / "p2o", [*changes, TWO_STEPS], P2O)
    if "says" in own:
        return own
    steps = 1 + (name in SECOND_STEP)
    theirs = [c for c in [*changes, f"trainer.total_training_steps={steps}"] if "p2o." not in c]
    stock = attempt(out / "stock", theirs, [])
    without = attempt(out / "without", [*changes, TWO_STEPS, "++p2o.method=grpo"], P2O) if steps == 2 else own
    for what, found in (("stock verl", stock), ("without templates", without)):
        if "says" in found:
            return own | {"says": f"{what}: {found['says']}"}
    return own | {"without": without["steps"][steps - 1], "stock": stock["steps"][steps - 1]}


def split_data(out: Path) -> None:
    """The data in two files, for the row that reads two."""
    from pyarrow import parquet

    write_data(out)
    table = parquet.read_table(out / "train.parquet")
    parquet.write_table(table.slice(0, 8), out / "first.parquet")
    parquet.write_table(table.slice(8), out / "second.parquet")


def attempt(out: Path, changes: Sequence[str], added: Sequence[str]) -> dict[str, Any]:
    """The figures of a run's steps, or the last thing that it said. A run that has ended is not made again."""
    if not (out / "code").exists():
        shutil.rmtree(out, ignore_errors=True)  # of a run that was killed
        out.mkdir()
        run = start(out, list(changes), list(added))
        try:
            (out / "code").write_text(str(run.wait()))
        finally:
            if run.poll() is None:  # this program was told to end
                os.killpg(run.pid, signal.SIGTERM)
    code = int((out / "code").read_text())
    if code == 0:
        return {"steps": [figures(step) for step in metrics(out) if "actor/grad_norm" in step]}
    lines = [line for line in (out / "log.txt").read_text().splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "Error" in line or line.startswith("p2o: ")), lines[-1])
    return {"says": said[:300], "code": code}


def figures(step: Mapping[str, float]) -> dict[str, float]:
    """The figures that are compared."""
    names = ("actor/grad_norm", "actor/pg_loss", "p2o/templated", "p2o/templated_success", "p2o/ratio_above")
    return {name: step[name] for name in (*names, "training/rollout_probs_diff_max") if name in step}


def show(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The outcomes as a Markdown table."""
    lines = [
        "| setting | gradient bare: P²O, stock verl | templated in step 2 | solved under them | gradient |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        steps = row.get("steps", [])
        if "says" in row or not steps:
            lines.append(f"| {name} | {row.get('says', 'no step')} | | | |")
            continue
        first = f"{row['without']['actor/grad_norm']:.5g}, {row['stock']['actor/grad_norm']:.5g}"
        if len(steps) == 1:
            lines.append(f"| {name} | {first} | ended after one step | | |")
            continue
        second = steps[1]
        share, solved = (f"{100 * second.get(key, 0):.0f} %" for key in ("p2o/templated", "p2o/templated_success"))
        lines.append(f"| {name} | {first} | {share} | {solved} | {second['actor/grad_norm']:.3g} |")
    return "\n".join(lines)


def main(out: Path, names: Sequence[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    file = out / "matrix.json"
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in names or ROWS:
        if name not in rows:
            rows[name] = run_row(out / name.replace(" ", "-").replace(",", ""), name)
            file.write_text(json.dumps(rows, indent=1))
            print(f"{name}: {json.dumps(rows[name])}", flush=True)
    print(show({name: rows[name] for name in ROWS if name in rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
