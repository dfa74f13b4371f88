"""What a run costs on many GPUs, on paper: counts from the recipe (`p2o.runs.plan`), hours from stated assumptions.

    python benchmarks/scaling_plan.py                 # the two runs of docs/scaling.md
    python benchmarks/scaling_plan.py --tokens_per_second 4000 --mean_share 0.3

Rollouts are exact, those of an evolution are the most it may take. Tokens, work and hours rest on the assumptions that
are printed with them; no GPU was used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from p2o.base.markdown import table
from p2o.runs.plan import Plan, make_plan
from p2o.runs.recipe import load_recipe

RECIPE = "paper/deepscaler_5k_self"


@dataclass(frozen=True)
class Run:
    name: str
    gpus: int
    parameters: float
    engine_gpus: int
    """GPUs that one copy of the engine takes (tensor parallel)."""
    overrides: tuple[str, ...] = ()


RUNS = (
    Run("Qwen3-4B on 8 GPUs", 8, 4.02e9, 1),
    # the same 768 rollouts a generation and 384 an update, from 64 ranks
    Run(
        "a 70B model on 64 GPUs",
        64,
        70.6e9,
        8,
        (
            *("--model_name_or_path", "meta-llama/Llama-3.3-70B-Instruct", "--processes", "64"),
            *("--steps_per_generation", "12", "--gradient_accumulation_steps", "6"),
            *("--vllm_tensor_parallel_size", "8"),
        ),
    ),
)


def counted(run: Run, samples: int) -> Plan:
    """The plan of the recipe for ``samples`` rows, without the data set itself."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.jsonl"
        rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(samples)]
        data.write_text("\n".join(map(json.dumps, rows)))
        return make_plan(load_recipe(RECIPE, ["--train", str(data), "--eval", "", "--test", "", *run.overrides]))


def hours_table(run: Run, plan: Plan, options: argparse.Namespace) -> list[str]:
    assert plan.generations_per_epoch is not None
    assert plan.prompt_steps is not None
    rollouts = plan.generations_per_epoch * plan.rollouts_per_generation
    evolved = plan.prompt_steps.rollouts
    length = options.mean_share * plan.max_completion
    prompt, template = options.prompt_tokens, options.template_tokens
    templated = options.templated_share * rollouts
    alive = options.alive_share
    forward = 2 * run.parameters  # floating point operations of a token
    trained = 4 * forward  # forward, backward, and the forward that gradient checkpointing repeats
    engines = run.gpus // run.engine_gpus
    speed = engines * options.tokens_per_second * (1 if run.engine_gpus == 1 else options.large_engine)
    work = run.gpus * options.peak * 1e12 * options.utilization
    # (part, rollouts, tokens, hours)
    ratio = alive * templated * (2 * (prompt + length) + template)
    train = alive * rollouts * (prompt + length)
    parts = [
        ("rollouts", rollouts, rollouts * length, rollouts * length / speed),
        ("ratio pass, on x and T(x, z)", alive * templated, ratio, ratio * forward / work),
        ("update", alive * rollouts, train, train * trained / work),
        ("evolution, at most", evolved, evolved * length, evolved * length / speed),
    ]
    total = sum(seconds for *_, seconds in parts)
    on_each = plan.rollouts_per_generation // run.gpus
    lines = [
        f"{run.name}: {rollouts:,} rollouts an epoch in {plan.generations_per_epoch} generations, {plan.updates} "
        f"updates in {plan.epochs:g} epochs, {on_each} rollouts a generation on each GPU",
        "",
    ]
    rows = [
        (name, f"{count:,.0f}", f"{tokens / 1e6:,.0f} M", f"{seconds / 3600:.1f}", f"{seconds / total:.0%}")
        for name, count, tokens, seconds in parts
    ]
    rows.append(("all", "", "", f"{total / 3600:.1f}", ""))
    lines.append(table(("part of an epoch", "rollouts", "tokens", "hours", "share"), rows))
    memory = ", ".join(f"{name} {gb:.1f}" for name, gb in plan.memory_gb)
    engine = run.parameters * 2 / run.engine_gpus / 1e9
    lines += ["", f"GB on each GPU: {memory}; the engine's weights {engine:.1f}, and its cache", ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--mean_share", type=float, default=0.4, help="mean completion, as a share of the longest")
    parser.add_argument("--prompt_tokens", type=float, default=200)
    parser.add_argument("--template_tokens", type=float, default=200)
    parser.add_argument("--templated_share", type=float, default=0.3, help="rollouts of hard samples with a template")
    parser.add_argument("--alive_share", type=float, default=0.5, help="rollouts with an advantage")
    parser.add_argument("--tokens_per_second", type=float, default=3000, help="of an engine on one GPU")
    parser.add_argument("--large_engine", type=float, default=0.8, help="an engine on 8 GPUs, as a share of that")
    parser.add_argument("--peak", type=float, default=989, help="TFLOP/s of a GPU (bf16)")
    parser.add_argument("--utilization", type=float, default=0.3)
    options = parser.parse_args()
    print("Assumed:", ", ".join(f"{name} {value:g}" for name, value in vars(options).items()), end="\n\n")
    for run in RUNS:
        print("\n".join(hours_table(run, counted(run, options.samples), options)))


if __name__ == "__main__":
    main()
