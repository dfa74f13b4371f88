"""Why the policy forgets easy sums on the quickstart, and what holds them: one run for each arm and seed.

    python benchmarks/forgetting.py --arms grpo grpo_steady p2o p2o_steady --seeds 0 1 2

An arm is the quickstart recipe in batches of 16 groups instead of 4, with a few settings changed, or with an instrument
that the package does not have (see `INSTRUMENTS`). Every five steps the policy answers the 400 easy sums of
``builtin:sandbox/easy`` and the hard dev sums, greedily and bare. Runs that are in
``benchmarks/results/forgetting.json`` already are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from p2o.base.markdown import table

RESULT = Path(__file__).parent / "results" / "forgetting.json"
EVERY = 5
"""Steps between two looks."""


@dataclass(frozen=True)
class Arm:
    """What an arm changes in the quickstart."""

    settings: dict[str, Any] = field(default_factory=dict)
    instrument: str = ""
    """A name of `INSTRUMENTS`."""


PLAIN = {
    "per_device_train_batch_size": 96,
    "num_train_epochs": 5,
    "scale_steps": False,
    "pull": 0.0,
    "sampling": "uniform",
}
SCALED = {**PLAIN, "scale_steps": True}
GRPO = {"method": "grpo"}
ARMS = {
    "grpo": Arm({**PLAIN, **GRPO}),
    "grpo_no_negative": Arm({**PLAIN, **GRPO}, "no_negative"),
    "grpo_still": Arm({**PLAIN, **GRPO}, "still"),
    "grpo_held": Arm({**PLAIN, **GRPO}, "held"),
    "grpo_pulled": Arm({**PLAIN, **GRPO, "pull": 0.02}),
    "grpo_scaled": Arm({**SCALED, **GRPO}),
    "p2o": Arm(PLAIN),
    "p2o_only_templated": Arm(PLAIN, "only_templated"),
    "p2o_only_bare": Arm(PLAIN, "only_bare"),
    "p2o_held": Arm(PLAIN, "held"),
    "p2o_pulled": Arm({**PLAIN, "pull": 0.02}),
    "p2o_scaled": Arm(SCALED),
    "grpo_steady": Arm({**SCALED, **GRPO, "pull": 0.015}),
    "p2o_steady": Arm({**SCALED, "pull": 0.015}),
    "p2o_steady_adaptive": Arm({**SCALED, "pull": 0.015, "sampling": "adaptive"}),
}


# --- instruments: what is asked of the cause, and no setting --------------------------------------------------------


Advantages = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(advantages, templated_G, all_solved_G) → the advantages that are trained; (B,) or (B, T)."""


def trained_on(change: Advantages) -> Callable[[Any], None]:
    """Changes a batch's advantages by what its groups are."""

    def install(trainer: Any) -> None:
        prepare, record, seen = trainer._generate_and_score_completions, trainer._record, {}

        def recorded(batch: Any, *more: Any) -> None:
            record(batch, *more)
            seen["templated"] = [bool(t) for t in batch.templates or [""] * len(batch.rows)]
            seen["solved"] = batch.solved

        def prepared(inputs: Any) -> Any:
            output = prepare(inputs)
            if trainer.model.training:
                templated, solved = (
                    torch.tensor(seen[k]).view(-1, trainer.num_generations) for k in ("templated", "solved")
                )
                output["advantages"] = change(output["advantages"], templated.any(1), solved.all(1))
            return output

        trainer._record, trainer._generate_and_score_completions = recorded, prepared

    return install


def in_groups(advantages: torch.Tensor, groups_G: torch.Tensor, value: float) -> torch.Tensor:
    """The advantages with ``value`` on all rollouts of these groups."""
    rows_B = groups_G.repeat_interleave(len(advantages) // len(groups_G))
    return advantages.masked_fill(rows_B if advantages.dim() == 1 else rows_B[:, None], value)


def still(trainer: Any) -> None:
    """A step without any spread is not taken, so that Adam's momentum moves nothing. Other steps keep their length."""

    class Still(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, optimizer: Any = None, model: Any = None, **kwargs: Any) -> None:
            if not any(p.grad.any() for p in model.parameters() if p.grad is not None):
                model.zero_grad(set_to_none=True)

    trainer.add_callback(Still())


INSTRUMENTS: dict[str, Callable[[Any], None]] = {
    "only_templated": trained_on(lambda a, templated_G, solved_G: in_groups(a, ~templated_G, 0.0)),
    "only_bare": trained_on(lambda a, templated_G, solved_G: in_groups(a, templated_G, 0.0)),
    # failed rollouts push nothing away
    "no_negative": trained_on(lambda a, templated_G, solved_G: a.clamp(min=0.0)),
    # the likelihood of the right answers of mastered groups, as large as a success in a mixed group (RL-ZVP)
    "held": trained_on(lambda a, templated_G, solved_G: in_groups(a, solved_G & ~templated_G, 1.0)),
    "still": still,
}


# --- one run ---------------------------------------------------------------------------------------------------------


def one_run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Trains one arm, and looks at it every few steps."""
    from p2o.data import load_samples, to_dataset
    from p2o.runs.building import trainer_of
    from p2o.runs.reading import setting_words
    from p2o.runs.recipe import load_recipe

    arm = ARMS[name]
    own = {"seed": seed, "output_dir": str(folder), "eval_strategy": "no", "eval_on_start": False}
    settings = {**arm.settings, **own, "save_strategy": "no", "disable_tqdm": True}
    trainer = trainer_of(load_recipe("quickstart", setting_words(settings)))
    if arm.instrument:
        INSTRUMENTS[arm.instrument](trainer)
    easy = list(to_dataset(load_samples("builtin:sandbox/easy")))
    hard, test = ([r for r in to_dataset(load_samples(f"builtin:sandbox/{part}")) if r["level"] == "hard"]
                  for part in ("dev", "test"))  # fmt: skip
    start = [p.detach().clone() for p in trainer.model.parameters()]
    curve: list[dict[str, float]] = []

    def success(rows: Sequence[Any]) -> float:
        was_training = trainer.model.training
        trainer.model.eval()
        rollouts = trainer.roll_out([("", row) for row in rows], 0.0)
        trainer.model.train(was_training)
        return sum(r.solved for r in rollouts) / len(rollouts)

    def look(step: int) -> None:
        curve.append(
            {"step": step, "easy": success(easy), "hard": success(hard), "cost": trainer.global_cost().training_cost}
        )

    class Looks(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            look(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % EVERY == 0:
                look(state.global_step)

    trainer.add_callback(Looks())
    began = time.perf_counter()
    trainer.train()
    ends = list(zip(trainer.model.parameters(), start, strict=True))
    moved = sum(float((p.detach() - first).norm() ** 2) for p, first in ends) ** 0.5
    log = trainer.state.log_history
    return {
        "arm": name,
        "seed": seed,
        "easy": curve[-1]["easy"],
        "hard": success(test),
        "cost": curve[-1]["cost"],
        "moved": moved / sum(float(first.norm() ** 2) for _, first in ends) ** 0.5,
        "forgotten": [row["p2o/forgotten"] for row in log if "p2o/forgotten" in row],
        "seconds": round(time.perf_counter() - began),
        "curve": curve,
    }


def result_table(runs: Sequence[dict[str, Any]]) -> str:
    """Easy and hard success at the end, each seed; cost and movement are means."""
    lines = []
    for name in ARMS:
        rows = sorted((r for r in runs if r["arm"] == name), key=lambda r: r["seed"])
        if rows:
            cells = [" ".join(f"{100 * r[key]:.1f}" for r in rows) for key in ("easy", "hard")]
            lowest = min(point["easy"] for r in rows for point in r["curve"])
            cost, moved = (statistics.mean(r[key] for r in rows) for key in ("cost", "moved"))
            lines.append([f"`{name}`", *cells, f"{100 * lowest:.1f}", f"{cost / 1e6:.2f} M", f"{100 * moved:.2f} %"])
    return table(["arm", "easy, each seed (%)", "hard (%)", "lowest easy (%)", "cost", "weights moved"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after this time")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, seed, target = arguments.one
        Path(f"{target}.json").write_text(json.dumps(one_run(name, int(seed), Path(target))))
        return
    began = time.monotonic()
    for seed in arguments.seeds:
        for name in arguments.arms:
            content = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": []}
            if any((r["arm"], r["seed"]) == (name, seed) for r in content["runs"]):
                continue
            if time.monotonic() - began > arguments.seconds:
                return
            target = arguments.work / f"{name}-{seed}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.with_name(f"{target.name}.log").open("w") as log:
                command = [sys.executable, __file__, "--one", name, str(seed), str(target)]
                subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
            content["runs"].append(json.loads(target.with_name(f"{target.name}.json").read_text()))
            content |= {
                "command": "python benchmarks/forgetting.py",
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "versions": {name: version(name) for name in ("p2o-rl", "torch", "transformers", "trl")},
            }
            RESULT.write_text(json.dumps(content) + "\n")
    if RESULT.exists():
        print(result_table(json.loads(RESULT.read_text())["runs"]))


if __name__ == "__main__":
    main()
