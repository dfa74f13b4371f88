"""What a verl user sets, run with P²O on a CPU: two steps each, an evolution between them.

    python tests/verl/matrix.py OUT [ROW …]        # all rows, or some; rows that OUT/matrix.json has are not run again

The first step has no templates: its gradient is compared with stock verl's under the same settings. The second one is
drawn under templates, with the gradient on the bare prompt.
"""

from __future__ import annotations

import json
import shutil
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
ACTOR, ROLLOUT, LOSS = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.actor.policy_loss"
REWARD_MANAGER = "reward.reward_manager"
REFERENCE = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=16"

ROWS: Mapping[str, Sequence[str]] = {
    "nothing": [],
    "KL loss": [f"{ACTOR}.use_kl_loss=True", f"{ACTOR}.kl_loss_coef=0.1", REFERENCE],
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
    "validation before training": ["trainer.val_before_train=True", "trainer.test_freq=1"],
    "two data files": ["data.train_files=[OUT/first.parquet,OUT/second.parquet]"],
    "reward manager": [f"{REWARD_MANAGER}.name=dapo"],
    "tools": [*MULTI_TURN, f"{ROLLOUT}.agent.default_agent_loop=tool_agent"],
    "several PPO epochs": [f"{ACTOR}.ppo_epochs=2"],
    "filter_groups": ["algorithm.filter_groups.enable=True"],
    "max_cost": ["+p2o.max_cost=1"],
}


def run_row(out: Path, changes: Sequence[str]) -> dict[str, Any]:
    """The outcome of a row: figures of P²O's two steps and of stock verl's first one, or what was said."""
    out.mkdir(parents=True, exist_ok=True)
    split_data(out)
    changes = [change.replace("OUT", str(out)) for change in changes]
    own = attempt(out / "p2o", [*ONE_EPOCH_A_STEP, "trainer.total_training_steps=2", *changes], P2O)
    if "says" in own:
        return own
    theirs = [c for c in [*ONE_EPOCH_A_STEP, "trainer.total_training_steps=1", *changes] if "p2o." not in c]
    stock = attempt(out / "stock", theirs, [])
    return own | {"stock": stock["steps"][0]} if "steps" in stock else own | {"says": f"stock verl: {stock['says']}"}


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
        (out / "code").write_text(str(start(out, list(changes), list(added)).wait()))
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
        "| setting | first gradient, P²O and stock verl | templated in step 2 | solved under them | gradient |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        steps = row.get("steps", [])
        if "says" in row or not steps:
            lines.append(f"| {name} | {row.get('says', 'no step')} | | | |")
            continue
        first = f"{steps[0]['actor/grad_norm']:.5g}, {row['stock']['actor/grad_norm']:.5g}"
        if len(steps) == 1:
            lines.append(f"| {name} | {first} | ended after one step | | |")
            continue
        second = steps[1]
        share, solved = (f"{100 * second.get(key, 0):.0f} %" for key in ("p2o/templated", "p2o/templated_success"))
        lines.append(f"| {name} | {first} | {share} | {solved} | {second['actor/grad_norm']:.3g} |")
    return "\n".join(lines)


def main(out: Path, names: Sequence[str]) -> None:
    file = out / "matrix.json"
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in names or ROWS:
        if name not in rows:
            rows[name] = run_row(out / name.replace(" ", "-"), ROWS[name])
            file.write_text(json.dumps(rows, indent=1))
            print(f"{name}: {json.dumps(rows[name])}", flush=True)
    print(show({name: rows[name] for name in ROWS if name in rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
