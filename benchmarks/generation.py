"""Where the time of transformers generation goes, and what changes it. Ratios of CPU seconds in one run
(A B A B, medians).

    python benchmarks/generation.py [--model builtin:smollm2] [--pairs 5] [--rows 64] [--tokens 48]

Rollouts of an evolution: ``--rows`` sums under one template, greedy. Each variant is timed against the baseline (the
model's own type, dynamic cache, one batch, sorted lengths). Prints one JSON object and replaces the model's entry in
`benchmarks/results/generation.json`.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from p2o.core.templates import apply_template
from p2o.data import load_samples
from p2o.generation.efficient import efficient
from p2o.generation.local import ModelSource, load_policy
from p2o.generation.settings import GenerationSettings, prompt_ids

RESULT = Path(__file__).parent / "results" / "generation.json"
TEMPLATE = "Show your work. Go from right to left. Carry the ones. State the total at the end."


class Runner:
    """One batch of prompts and the ways to complete it."""

    def __init__(self, model: str, rows: int, tokens: int) -> None:
        self.policy = load_policy(ModelSource(model), GenerationSettings(tokens))
        self.model, self.tokenizer, self.tokens = self.policy.model, self.policy.tokenizer, tokens
        samples = load_samples("builtin:sandbox/train")[:rows]
        chats = [list(apply_template(TEMPLATE, sample.messages)) for sample in samples]
        self.ids = sorted(prompt_ids(self.tokenizer, chats, self.policy.settings), key=len)

    @torch.no_grad()
    def complete(self, ids: list[list[int]], model: Any = None, **options: Any) -> list[list[int]]:
        model = model or self.model
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        output = model.generate(
            **batch, do_sample=False, max_new_tokens=self.tokens, pad_token_id=self.tokenizer.pad_token_id, **options
        )
        return output[:, batch["input_ids"].size(1) :].tolist()

    def baseline(self) -> None:
        self.complete(self.ids)

    def in_batches(self, size: int, ids: list[list[int]] | None = None) -> None:
        ids = ids or self.ids
        for start in range(0, len(ids), size):
            self.complete(ids[start : start + size])

    def static_cache(self) -> None:
        self.complete(self.ids, cache_implementation="static", disable_compile=True)

    def as_p2o(self) -> None:
        with efficient(self.model):
            self.baseline()

    def wasted(self) -> float:
        """Share of the decoding steps that belong to rows which are finished already."""
        pad = self.tokenizer.pad_token_id
        lengths = [sum(token != pad for token in row) for row in self.complete(self.ids)]
        return 1 - sum(lengths) / (len(lengths) * max(lengths))


def ratio(variant: Callable[[], Any], base: Callable[[], Any], pairs: int) -> dict[str, Any]:
    def seconds(call: Callable[[], Any]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    seconds(variant)
    times = [(seconds(variant), seconds(base)) for _ in range(pairs)]
    ours, theirs = (statistics.median(t) for t in zip(*times, strict=True))
    each = [round(a / b, 2) for a, b in times]
    return {"ratio": round(ours / theirs, 3), "pair_ratios": each, "baseline_cpu_s": round(theirs, 3)}


def profile(runner: Runner) -> dict[str, Any]:
    """Shares of the time of one batch: native code (torch's kernels) by function, and Python's own by function."""
    profiler = cProfile.Profile()
    profiler.runcall(runner.baseline)
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = max(row[3] for row in stats.values())
    native: dict[str, float] = {}
    for (file, _, name), row in stats.items():
        if file == "~":
            native[name] = native.get(name, 0.0) + row[2]
    shares = {
        "native code": round(sum(native.values()) / total, 2),
        "of it": {name: round(s / total, 3) for name, s in sorted(native.items(), key=lambda i: -i[1])[:8]},
    }
    own = sorted(
        ((row[2], f"{Path(key[0]).name}:{key[2]}") for key, row in stats.items() if key[0] != "~"), reverse=True
    )
    return {"seconds": round(total, 2), **shares, "python": {name: round(s / total, 3) for s, name in own[:8]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:sandbox")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    runner = Runner(options.model, options.rows, options.tokens)
    runner.baseline()
    other = torch.float32 if runner.model.dtype == torch.bfloat16 else torch.bfloat16
    converted = copy.deepcopy(runner.model).to(other)
    shuffled = runner.ids[::2] + runner.ids[1::2][::-1]
    variants: dict[str, Callable[[], Any]] = {
        f"weights in {str(other)[6:]} (baseline: {str(runner.model.dtype)[6:]})": lambda: runner.complete(
            runner.ids, converted
        ),
        "p2o.generation.sampler": runner.as_p2o,
        "static cache": runner.static_cache,
        "batches of 16": lambda: runner.in_batches(16),
        "one row at a time (gepa's default adapter)": lambda: runner.in_batches(1),
        "batches of 16, lengths not sorted": lambda: runner.in_batches(16, shuffled),
    }
    result: dict[str, Any] = {
        "rows": options.rows,
        "prompt_tokens": [len(runner.ids[0]), len(runner.ids[-1])],
        "completion_tokens": options.tokens,
        "decoding_steps_of_finished_rows": round(runner.wasted(), 3),
        "profile": profile(runner),
        "against_baseline": {},
    }
    for name, variant in variants.items():
        result["against_baseline"][name] = found = ratio(variant, runner.baseline, options.pairs)
        print(name, json.dumps(found), flush=True)
    content = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    content[options.model] = result
    content["machine"] = f"2 CPU cores, {torch.get_num_threads()} thread(s)"
    content["versions"] = {name: version(name) for name in ("torch", "transformers")}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
