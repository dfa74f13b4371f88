"""What P²O costs in time against TRL's GRPO: ratios measured in one run (A B A B, medians).

    python benchmarks/speed.py                      # the built-in policy
    python benchmarks/speed.py --model builtin:smollm2 --only templated --rows 16

Writes `benchmarks/results/speed.json` (with `--only`, the measures named are replaced in it).
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "speed.json"
TEMPLATE = "Show your work. Go from right to left. Keep the carry. State the total at the end."
K = 4


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """Spread in every group; with a column ``dead``, none where it is true."""
    texts = [c[0]["content"] for c in completions]
    dead = columns.get("dead", [False] * len(texts))
    return [0.0 if d else (hash(t) % 97) / 97 for t, d in zip(texts, dead, strict=True)]


class Steps:
    """Single training steps of TRL's trainer or ours, from rows to updated weights."""

    def __init__(self, model: str, ours: bool, rows: int, dead_share: float = 0.0, tokens: int = 32, **changes: Any):
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        from p2o import P2OConfig, P2OTrainer
        from p2o.data import load_samples, to_dataset
        from p2o.models import resolve_model

        samples = load_samples("builtin:sandbox/train")[: rows // K]
        dataset: Dataset = to_dataset(samples)
        alive = round(len(samples) * (1 - dead_share))
        dataset = dataset.add_column("dead", [n >= alive for n in range(len(samples))])
        settings = {
            "output_dir": tempfile.mkdtemp(), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
            "report_to": "none", "num_generations": K, "per_device_train_batch_size": rows, "disable_tqdm": True,
            # Fixed lengths: both methods generate and train equally many tokens.
            "max_completion_length": tokens, "generation_kwargs": {"min_new_tokens": tokens},
            "learning_rate": 1e-6, "lr_scheduler_type": "constant", "save_strategy": "no", **changes,
        }  # fmt: skip
        kind, config = (P2OTrainer, P2OConfig) if ours else (GRPOTrainer, GRPOConfig)
        extra = {"reflector": lambda jobs: []} if ours else {}
        self.trainer = kind(resolve_model(model), reward, config(**settings), train_dataset=dataset, **extra)
        self.rows = [row for row in self.trainer.train_dataset for _ in range(K)]
        self.optimizer = self.trainer.create_optimizer()
        self.trainer.current_gradient_accumulation_steps = 1

    def whole(self) -> float:
        """Seconds of a whole step."""
        import torch

        torch.manual_seed(0)
        trainer = self.trainer
        trainer._step, trainer._buffered_inputs = 0, None
        trainer.model.train()
        start = time.perf_counter()
        trainer.training_step(trainer.model, self.rows, None)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start

    def prepare(self) -> Any:
        import torch

        torch.manual_seed(0)
        self.trainer.model.train()
        self.trainer._step, self.trainer._buffered_inputs = 0, None
        self.batch = self.trainer._generate_and_score_completions(self.rows)
        return self.batch

    def update(self) -> tuple[float, float]:
        """(seconds of forward, backward and optimizer on the prepared batch, loss)."""
        start = time.perf_counter()
        loss = self.trainer._compute_loss(self.trainer.model, self.batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start, loss.item()


def ratio(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Median of ours over median of theirs, A B A B, after one warm-up each."""
    ours(), theirs()
    a, b = [], []
    for _ in range(pairs):
        a.append(ours())
        b.append(theirs())
    return {
        "ratio": round(statistics.median(a) / statistics.median(b), 3),
        "pair_ratios": [round(x / y, 3) for x, y in zip(a, b, strict=True)],
        "ours_s": round(statistics.median(a), 3),
        "theirs_s": round(statistics.median(b), 3),
    }


def plain(o: argparse.Namespace) -> dict[str, Any]:
    """No template in play, no dead rows."""
    ours, theirs = Steps(o.model, True, o.rows), Steps(o.model, False, o.rows)
    return ratio(ours.whole, theirs.whole, o.pairs)


def dead(o: argparse.Namespace) -> dict[str, Any]:
    """80 % dead groups: forward, backward and optimizer; and the whole step."""
    ours, theirs = Steps(o.model, True, o.rows, 0.8), Steps(o.model, False, o.rows, 0.8)
    ours.prepare(), theirs.prepare()
    update = ratio(lambda: ours.update()[0], lambda: theirs.update()[0], o.pairs)
    return {
        **update,
        "losses": [ours.update()[1], theirs.update()[1]],
        "whole_step": ratio(ours.whole, theirs.whole, o.pairs),
    }


def templated(o: argparse.Namespace) -> dict[str, Any]:
    """Half of the rows templated, all groups alive."""
    ours, theirs = Steps(o.model, True, o.rows), Steps(o.model, False, o.rows)
    slots = [TEMPLATE] * (K // 2) + [""] * (K // 2)
    ours.trainer.loop.assignment = dict.fromkeys(ours.trainer.train_rows, slots)
    return {"model": o.model, "rows": o.rows, **ratio(ours.whole, theirs.whole, o.pairs)}


def evolution(o: argparse.Namespace) -> dict[str, Any]:
    """W = 16, dev 40, 6 iterations: generation calls, and time against one call per candidate (gepa's default)."""
    from p2o.data import load_samples
    from p2o.evolve import EvolveConfig, PhrasesReflector, evolve
    from p2o.policies import LocalPolicy, rollout_fn
    from p2o.recipe import load_recipe
    from p2o.rewards import RewardSet, resolve_reward
    from p2o.samples import Rollout, RolloutFn, Sample

    hard = [s for s in load_samples("builtin:sandbox/train") if s.columns["level"] == "hard"]
    policy = LocalPolicy("builtin:sandbox", batch_size=256)
    batched = rollout_fn(policy, RewardSet([resolve_reward("last_number")]), 0.0, 56)
    bank = load_recipe("quickstart").task.reflector_phrases
    calls = {"batched": 0, "single": 0}

    def together(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        calls["batched"] += 1
        return batched(pairs)

    def one_by_one(pairs: Sequence[tuple[str, Sample]]) -> list[Rollout]:
        results: dict[int, Rollout] = {}
        for template in dict.fromkeys(t for t, _ in pairs):
            places = [n for n, (t, _) in enumerate(pairs) if t == template]
            calls["single"] += 1
            results |= zip(places, batched([pairs[n] for n in places]), strict=True)
        return [results[n] for n in range(len(pairs))]

    def timed(rollout: RolloutFn) -> float:
        config = EvolveConfig(budget=100_000, parents=16, fill_proposals=True, max_iterations=6, seed=1)
        start = time.perf_counter()
        evolve(hard[40:], hard[:40], rollout, PhrasesReflector(bank), config, Path(tempfile.mkdtemp()))
        return time.perf_counter() - start

    result = ratio(lambda: timed(together), lambda: timed(one_by_one), o.pairs)
    runs = o.pairs + 1
    return {**result, "calls_batched": calls["batched"] // runs, "calls_per_candidate": calls["single"] // runs}


def bookkeeping(o: argparse.Namespace) -> dict[str, Any]:
    """Seconds of ledger, cover, assignment and JSON by size of the hard set (300 candidates, no model)."""
    from p2o.hard import HardLedger
    from p2o.templates import assign, make_pool, pool_to_json

    seconds = {}
    for n in (100, 1_000, 10_000):
        rng = random.Random(0)
        ids = [f"s{i}" for i in range(n)]
        solved = [[rng.random() < 0.05 for _ in ids] for _ in range(300)]
        scores = [[float(s) for s in row] for row in solved]
        start = time.perf_counter()
        ledger = HardLedger()
        for i in ids:
            ledger.record(i, [0.0] * 6)
        hard = ledger.hard_ids(1)
        pool = make_pool([f"t{c}" for c in range(300)], scores, solved, ids)
        assignment = assign(hard, pool, 6, random.Random(0))
        json.dumps([ledger.state_dict(), pool_to_json(pool), assignment])
        seconds[str(n)] = round(time.perf_counter() - start, 3)
    return {"seconds": seconds}


def imports(o: argparse.Namespace) -> dict[str, Any]:
    """Seconds to import p2o and to show the command line's help."""

    def best(command: list[str]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return round(statistics.median(times), 3)

    return {
        "import_p2o_s": best([sys.executable, "-c", "import p2o"]),
        "p2o_help_s": best([sys.executable, "-m", "p2o.cli", "--help"]),
    }


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "plain": plain, "dead": dead, "templated": templated, "evolution": evolution, "bookkeeping": bookkeeping,
    "imports": imports,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:sandbox")
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default=",".join(MEASURES))
    options = parser.parse_args()
    content = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in options.only.split(","):
        key = name if options.model == "builtin:sandbox" else f"{name} {options.model}"
        content[key] = MEASURES[name](options)
        print(key, json.dumps(content[key]), flush=True)
    content["machine"] = f"{platform.processor() or platform.machine()}, 2 cores"
    content["versions"] = {name: version(name) for name in ("torch", "transformers", "trl", "gepa")}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
