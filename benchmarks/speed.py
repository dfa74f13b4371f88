"""What P²O costs in time against TRL's GRPO: ratios measured in one run (A B A B, medians).

    export OMP_NUM_THREADS=1
    python benchmarks/speed.py                      # the built-in policy
    python benchmarks/speed.py --model builtin:smollm2 --only templated --rows 16

Writes `benchmarks/results/speed.json` (with `--only`, the measures named are replaced in it).
"""

from __future__ import annotations

import argparse
import json
import os
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

import peak_memory

RESULT = Path(__file__).parent / "results" / "speed.json"
Times = tuple[float, float]
TEMPLATE = "Show your work. Go from right to left. Keep the carry. State the total at the end."
K = 4
WAYS = ("solved", "soft", "shape", "no_mask", "importance", "kl", "none")


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
        from p2o.generation.models import resolve_model

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

    def whole(self) -> Times:
        """A whole step."""
        import torch

        torch.manual_seed(0)
        trainer = self.trainer
        trainer._step, trainer._buffered_inputs = 0, None
        trainer.model.train()

        def step() -> None:
            trainer.training_step(trainer.model, self.rows, None)
            self.optimizer.step()
            self.optimizer.zero_grad()

        return timed(step)

    def prepare(self) -> Any:
        import torch

        torch.manual_seed(0)
        self.trainer.model.train()
        self.trainer._step, self.trainer._buffered_inputs = 0, None
        self.batch = self.trainer._generate_and_score_completions(self.rows)
        return self.batch

    def weights(self) -> list[Any]:
        return [p.detach().clone() for p in self.trainer.model.parameters()]

    def update(self) -> Times:
        """Forward, backward and optimizer on the prepared batch; the loss is kept."""

        def step() -> None:
            loss = self.trainer._compute_loss(self.trainer.model, self.batch)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.loss = loss.item()

        return timed(step)


def timed(call: Callable[[], Any]) -> Times:
    """(seconds on the clock, CPU seconds of this process)."""
    clock, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - cpu


def ratio(ours: Callable[[], Times], theirs: Callable[[], Times], pairs: int) -> dict[str, Any]:
    """Ours over theirs, A B A B, after one warm-up each: medians of CPU time, which other work on the machine hardly
    touches (``ratio``), and of time on the clock (``clock_ratio``). With one thread on an idle machine they agree."""
    ours(), theirs()
    times = [(ours(), theirs()) for _ in range(pairs)]
    result: dict[str, Any] = {}
    for name, n in (("ratio", 1), ("clock_ratio", 0)):
        a, b = ([pair[side][n] for pair in times] for side in (0, 1))
        result[name] = round(statistics.median(a) / statistics.median(b), 3)
        result[f"{name}_pairs"] = [round(x / y, 3) for x, y in zip(a, b, strict=True)]
        unit = "s" if n == 0 else "cpu_s"
        result[f"ours_{unit}"], result[f"theirs_{unit}"] = (round(statistics.median(t), 3) for t in (a, b))
    return result


def plain(o: argparse.Namespace) -> dict[str, Any]:
    """No template in play, no dead rows."""
    ours, theirs = Steps(o.model, True, o.rows), Steps(o.model, False, o.rows)
    return ratio(ours.whole, theirs.whole, o.pairs)


def dead(o: argparse.Namespace) -> dict[str, Any]:
    """80 % dead groups: forward, backward and optimizer; and the whole step."""
    ours, theirs = Steps(o.model, True, o.rows, 0.8), Steps(o.model, False, o.rows, 0.8)
    shared = Steps(o.model, True, o.rows, 0.8, share_prompts=True)
    ours.prepare(), theirs.prepare()
    before = theirs.weights()
    update = ratio(ours.update, theirs.update, o.pairs)
    return {
        **update,
        "losses": [ours.loss, theirs.loss],
        "largest_difference_of_weights": largest_difference(ours.weights(), theirs.weights()),
        "largest_change_of_weights": largest_difference(theirs.weights(), before),
        "whole_step": ratio(ours.whole, theirs.whole, o.pairs),
        "whole_step_share_prompts": ratio(shared.whole, theirs.whole, o.pairs),
    }


def largest_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def templated(o: argparse.Namespace) -> dict[str, Any]:
    """Half of the rows templated, all groups alive; completions as long as the quickstart's."""
    ours = Steps(o.model, True, o.rows, tokens=o.tokens, share_prompts=True)
    theirs = Steps(o.model, False, o.rows, tokens=o.tokens)
    slots = [TEMPLATE] * (K // 2) + [""] * (K // 2)
    ours.trainer.loop.assignment = dict.fromkeys(ours.trainer.rows.by_id, slots)
    prompt = ours.trainer._tokenize_prompts([ours.rows[0]["prompt"]])[0][0]
    template = ours.trainer._tokenizer(TEMPLATE)["input_ids"]
    shape = {"prompt_tokens": len(prompt), "template_tokens": len(template), "completion_tokens": o.tokens}
    return {"model": o.model, "rows": o.rows, **shape, **ratio(ours.whole, theirs.whole, o.pairs)}


def templated_steps(o: argparse.Namespace, way: str) -> Steps:
    """Half of the rows templated, half of the rollouts solved; trained by one way of distillation."""
    steps = Steps(o.model, True, o.rows, tokens=o.tokens, distillation=way, success_threshold=0.5)
    slots = [TEMPLATE] * (K // 2) + [""] * (K // 2)
    steps.trainer.loop.assignment = dict.fromkeys(steps.trainer.rows.by_id, slots)
    return steps


def credits(o: argparse.Namespace) -> dict[str, Any]:
    """A whole step by each way of distillation over one by the paper's mask; and the peak memory of two such steps."""
    mask = templated_steps(o, "mask")
    found = {way: ratio(templated_steps(o, way).whole, mask.whole, o.pairs) for way in WAYS}
    base = peak_of(o, "mask")
    return {way: {**times, "peak_over_mask": round(peak_of(o, way) / base, 3)} for way, times in found.items()}


def peak_of(o: argparse.Namespace, way: str) -> float:
    """MB, in a process of its own."""
    command = [sys.executable, __file__, "--peak", way, "--model", o.model, "--rows", str(o.rows)]
    done = subprocess.run([*command, "--tokens", str(o.tokens)], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


class Evolutions:
    """Evolutions on the quickstart's hard samples, by our scorer or in gepa's default way, in which each parent, each
    child and each accepted candidate is evaluated by itself."""

    def __init__(self, dev: int) -> None:
        from p2o.data import load_samples
        from p2o.generation import local
        from p2o.generation.settings import GenerationSettings
        from p2o.reflectors import PhrasesReflector
        from p2o.rewards import RewardSet, resolve_reward
        from p2o.runs.fixed_policy import FixedPolicy
        from p2o.runs.recipe import load_recipe

        self.local, self.why_not = local, local.why_not
        hard = [s for s in load_samples("builtin:sandbox/train") if s.columns["level"] == "hard"]
        self.dev, self.train = hard[:dev], hard[dev:]
        policy = local.load_policy(local.ModelSource("builtin:sandbox"), GenerationSettings(56, batch_size=256))
        recipe = load_recipe("quickstart")
        rewards = RewardSet([resolve_reward("last_number")])
        self.roll_out = FixedPolicy(recipe, policy, rewards).roll_out(0.0)
        self.reflector = PhrasesReflector(recipe.task.reflector_phrases)
        self.last: dict[str, Any] = {}
        """The result of the last evolution."""

    def run(self, config: Any, batched: bool, ours: bool = True) -> Times:
        """One evolution.

        Args:
            batched: by our scorer.
            ours: with our generation; else with transformers' own.
        """
        from p2o.core.evolve import evolve, run
        from p2o.core.evolve.scorer import Scorer

        folder = Path(tempfile.mkdtemp())
        run.Scorer = Scorer if batched else one_by_one(config.minibatch)  # type: ignore[misc]
        self.local.why_not = self.why_not if ours else lambda *_: "it is transformers' turn"
        call = lambda: evolve(self.train, self.dev, self.roll_out, self.reflector, config, folder)  # noqa: E731
        times = timed(call)
        run.Scorer, self.local.why_not = Scorer, self.why_not  # type: ignore[misc]
        self.last = json.loads((folder / "evolution.json").read_text())
        return times


def one_by_one(minibatch: int) -> type:
    """A scorer with a call for each template, and for each of its minibatches."""
    from itertools import groupby

    from p2o.core.evolve.scorer import Pair, Scorer

    class OneByOne(Scorer):
        def _roll_out(self, pairs: list[Pair], phase: str) -> None:
            size = minibatch if phase in ("parents", "children") else len(pairs)
            for _, group in groupby(pairs, key=lambda pair: pair[0]):
                same = list(group)
                for start in range(0, len(same), size):
                    super()._roll_out(same[start : start + size], phase)

    return OneByOne


def evolution(o: argparse.Namespace) -> dict[str, Any]:
    """W = 16, dev 40, 6 iterations: generation calls, and time against gepa's default, for as many rollouts; with our
    generation on both sides (``ratio``), and with transformers' own on gepa's side (``over_transformers``)."""
    from p2o.core.evolve import EvolveConfig

    evolutions = Evolutions(dev=40)
    config = EvolveConfig(budget=100_000, parents=16, fill_proposals=True, max_iterations=6, seed=1)
    calls: dict[str, int] = {}

    def side(name: str, **how: bool) -> Times:
        times = evolutions.run(config, **how)
        calls[name] = evolutions.last["cost"]["generation_calls"]
        return times

    batched = lambda: side("batched", batched=True)  # noqa: E731
    result = ratio(batched, lambda: side("per_candidate", batched=False), o.pairs)
    over = ratio(batched, lambda: side("per_candidate", batched=False, ours=False), o.pairs)
    return {**result, "over_transformers": over, **{f"calls_{name}": number for name, number in calls.items()}}


def search(o: argparse.Namespace) -> dict[str, Any]:
    """The evolution that `p2o init` proposes (``evolve_search: race``, ``evolve_patience: 2``) against gepa's default,
    to the same end: a template that solves all of the dev part (48). Sums over five seeds, a budget of 900 rollouts;
    like `evolution`, with our generation on both sides and with transformers' own on gepa's."""
    from p2o.core.evolve import EvolveConfig

    evolutions = Evolutions(dev=48)
    best: dict[str, list[float]] = {"ours": [], "gepa": []}
    rollouts: dict[str, int] = {}

    def five(name: str, batched: bool, ours: bool = True) -> Times:
        plain = {"budget": 900, "parents": 16, "fill_proposals": True}
        racing = {"search": "race", "patience": 2} if batched else {}
        best[name], rollouts[name], times = [], 0, []
        for seed in range(5):
            times.append(evolutions.run(EvolveConfig(**plain, **racing, seed=seed), batched, ours))  # type: ignore[arg-type]
            best[name].append(max(sum(row) / len(row) for row in evolutions.last["scores_CV"]))
            rollouts[name] += evolutions.last["cost"]["metric_calls"]
        clock, cpu = zip(*times, strict=True)
        return sum(clock), sum(cpu)

    ours = lambda: five("ours", batched=True)  # noqa: E731
    result = ratio(ours, lambda: five("gepa", batched=False), o.pairs)
    over = ratio(ours, lambda: five("gepa", batched=False, ours=False), o.pairs)
    return {**result, "over_transformers": over, "best": best, "rollouts": rollouts}


def bookkeeping(o: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of ledger, cover, assignment (with the leak guard) and JSON by size of the hard set: 300 candidates,
    each of which solves 5 % of the samples, no model."""
    from p2o.core.evolve import leaks_answer
    from p2o.core.hard import HardLedger
    from p2o.core.samples import Sample
    from p2o.core.templates import assign, make_pool, pool_to_json

    def one_epoch(samples: dict[str, Sample], templates: list[str], solved: list[list[bool]]) -> None:
        ledger = HardLedger()
        for i in samples:
            ledger.record(i, [0.0] * 6)
        scores = [[float(s) for s in row] for row in solved]
        pool = make_pool(templates, scores, solved, list(samples))
        assignment = assign(
            ledger.hard_ids(1), pool, 6, random.Random(0), forbidden=lambda text, i: leaks_answer(text, samples[i])
        )
        json.dumps([ledger.state_dict(), pool_to_json(pool), assignment])

    seconds = {}
    templates = [f"{TEMPLATE} Check the column {c} twice, and write every sum on a line." for c in range(300)]
    for n in (100, 1_000, 10_000):
        rng = random.Random(0)
        texts = [(f"s{i}", f"What is {i} + {2 * i}?", str(3 * i)) for i in range(n)]
        samples = {i: Sample(i, ({"role": "user", "content": q},), a) for i, q, a in texts}
        solved = [[rng.random() < 0.05 for _ in samples] for _ in templates]
        seconds[str(n)] = round(timed(lambda: one_epoch(samples, templates, solved))[1], 3)  # noqa: B023
    return {"cpu_seconds": seconds}


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
        "p2o_help_s": best([sys.executable, "-m", "p2o", "--help"]),
    }


def memory(o: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of runs on SmolLM2 with P²O and with GRPO."""
    return peak_memory.memory("builtin:smollm2", 32, 1)


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "plain": plain, "dead": dead, "templated": templated, "evolution": evolution, "search": search,
    "bookkeeping": bookkeeping, "imports": imports, "memory": memory, "credits": credits,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:sandbox")
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=56, help="of a completion, for templated")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        steps = templated_steps(options, options.peak)
        steps.whole(), steps.whole()
        print(peak_memory.peak_mb())
        return
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        key = name if options.model == "builtin:sandbox" else f"{name} {options.model}"
        found = MEASURES[name](options)
        print(key, json.dumps(found), flush=True)
        content = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        content[key] = found
        threads = os.environ.get("OMP_NUM_THREADS")
        content["machine"] = f"{len(os.sched_getaffinity(0))} CPU cores, OMP_NUM_THREADS={threads}"
        content["versions"] = {package: version(package) for package in ("torch", "transformers", "trl", "gepa")}
        RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
