"""What a training step costs against TRL's GRPO on a GPU: ratios measured in one run (A B A B, medians).

    python benchmarks/gpu.py --out gpu.json                       # one CUDA card, a random Llama of about 0.5 B, bf16
    python benchmarks/gpu.py --device cpu --model builtin:sandbox --out cpu.json

Needs no network. A measure that fails is recorded with its error and the others are still made. No measure begins
after ``--seconds``. Times are of the clock on a GPU, and CPU seconds of this process on a CPU, which other work hardly
changes.

``rollouts``            from rows to scored rollouts, bare: ours (``share_prompts``) over TRL's
``rollouts_templated``  half of the rows under a template, over TRL's bare ones
``rollouts_continuous`` TRL's ``use_transformers_continuous_batching`` over TRL's own generation
``step``                a whole step, all groups alive, no templates
``step_templated``      a whole step, half of the rows under a template, over TRL's bare step
``step_dead``           a whole step, 80 % of the groups without spread
``exact``               (first, on a small model in float32) greedy completions equal transformers' own
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import statistics
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from p2o.generation import efficient as drawing
from p2o.generation.models import resolve_model

K = 8
TEMPLATE = "Show your work. Go from right to left. Keep the carry. State the total at the end."
WAYS = ("eager", "graphs")
Measured = tuple[float, float]
"""(seconds, peak GB)"""


def reward(completion_ids: list[list[int]], dead: list[bool], **columns: Any) -> list[float]:
    """Spread in every group, but none where ``dead``."""
    return [0.0 if d else sum(ids) % 97 / 97 for ids, d in zip(completion_ids, dead, strict=True)]


def text_of(tokenizer: Any, number: int, tokens: int) -> str:
    """A question that is ``tokens`` long as a chat."""
    filler = " ".join(f"What is {number + n} + {7 * n}?" for n in range(tokens))

    def length(text: str) -> int:
        chat = [{"role": "user", "content": text}]
        return len(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)["input_ids"])

    low, high = 1, len(filler)
    while low < high:  # the longest text that is not too long
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(filler[:middle]) <= tokens else (low, middle - 1)
    return filler[:low]


class Bench:
    """The model, the prompts, and trainers of both kinds on them."""

    def __init__(self, o: argparse.Namespace) -> None:
        self.o, self.device = o, torch.device(o.device)
        self.ways = list(WAYS) if self.device.type == "cuda" else ["eager"]
        """Ours, with CUDA graphs and without; `exact` takes out what does not work here."""
        folder = resolve_model("builtin:sandbox" if o.model == "random" else o.model)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokens = o.completion
        room = o.prompt + len(TEMPLATE) + max(o.completion, o.long) + 64
        if o.model == "random":
            torch.manual_seed(0)
            with torch.device(self.device):
                self.source = LlamaForCausalLM(self.shape(room)).to(torch.bfloat16)
        else:
            self.source = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(self.device)
            self.source.config.max_position_embeddings = max(room, self.source.config.max_position_embeddings)
        self.questions = [text_of(self.tokenizer, 11 * n, o.prompt) for n in range(o.groups)]

    def shape(self, room: int) -> LlamaConfig:
        """Of the random model."""
        heads = self.o.hidden // 64
        return LlamaConfig(
            hidden_size=self.o.hidden, num_hidden_layers=self.o.layers, num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2), intermediate_size=4 * self.o.hidden, vocab_size=self.o.vocab,
            max_position_embeddings=room, pad_token_id=self.tokenizer.pad_token_id, bos_token_id=None,
            eos_token_id=self.tokenizer.eos_token_id, tie_word_embeddings=False,
        )  # fmt: skip

    def steps(self, ours: bool, dead: float = 0.0, templated: bool = False, **changes: Any) -> Steps:
        return Steps(self, ours, dead, templated, changes)


class Steps:
    """Single training steps of TRL's trainer or ours."""

    def __init__(self, bench: Bench, ours: bool, dead: float, templated: bool, changes: dict[str, Any]) -> None:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        from p2o import P2OConfig, P2OTrainer

        self.device, count = bench.device, len(bench.questions)
        alive = round(count * (1 - dead))
        columns = {
            "prompt": [[{"role": "user", "content": text}] for text in bench.questions],
            "sample_id": [str(n) for n in range(count)],
            "dead": [n >= alive for n in range(count)],
        }
        settings = {
            "output_dir": tempfile.mkdtemp(), "use_cpu": bench.o.device == "cpu", "bf16": bench.o.device != "cpu",
            "gradient_checkpointing": bench.o.checkpointing, "report_to": "none", "num_generations": K,
            "per_device_train_batch_size": count * K, "disable_tqdm": True, "save_strategy": "no",
            # Fixed lengths: both generate and train equally many tokens.
            "max_completion_length": bench.tokens, "generation_kwargs": {"min_new_tokens": bench.tokens},
            "learning_rate": 1e-6, "lr_scheduler_type": "constant", "temperature": 1.0,
        }  # fmt: skip
        kind, config = (P2OTrainer, P2OConfig) if ours else (GRPOTrainer, GRPOConfig)
        extra: dict[str, Any] = {"reflector": lambda jobs: []} if ours else {}
        settings |= ({"share_prompts": True} if ours else {}) | changes
        self.trainer = kind(
            copy.deepcopy(bench.source), reward, config(**settings),
            train_dataset=Dataset.from_dict(columns), processing_class=copy.deepcopy(bench.tokenizer), **extra,
        )  # fmt: skip
        trainer = self.trainer
        trainer.model_wrapped = trainer.model = trainer.accelerator.prepare_model(trainer.model)  # as train() does
        if templated:
            slots = [TEMPLATE] * (K // 2) + [""] * (K // 2)
            trainer.loop.assignment = dict.fromkeys(trainer.rows.by_id, slots)
        self.rows = [row for row in trainer.train_dataset for _ in range(K)]
        self.optimizer = trainer.create_optimizer()
        trainer.current_gradient_accumulation_steps = 1

    def _begin(self) -> None:
        torch.manual_seed(0)
        self.trainer._step, self.trainer._buffered_inputs = 0, None
        self.trainer.model.train()

    def rollouts(self) -> Measured:
        """From rows to scored rollouts."""
        self._begin()
        return measured(self.device, lambda: self.trainer._generate_and_score_completions(self.rows))

    def whole(self) -> Measured:
        """A whole step."""
        self._begin()

        def step() -> None:
            self.trainer.training_step(self.trainer.model, self.rows, None)
            self.optimizer.step()
            self.optimizer.zero_grad()

        return measured(self.device, step)


def measured(device: torch.device, call: Callable[[], Any]) -> Measured:
    """(seconds: of the clock on a GPU, CPU seconds on a CPU; peak GB on a GPU, else 0)."""
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start, 0.0
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 1e9


def compare(sides: dict[str, Callable[[], Measured]], pairs: int) -> dict[str, Any]:
    """Each side over the side ``trl``, in turn, after one warm-up each."""
    for side in sides.values():
        side()
    times: dict[str, list[Measured]] = {name: [] for name in sides}
    for _ in range(pairs):
        for name, side in sides.items():
            times[name].append(side())
    found: dict[str, Any] = {}
    for name, own in times.items():
        seconds = [s for s, _ in own]
        found[name] = {"seconds": round(statistics.median(seconds), 4), "peak_gb": round(max(gb for _, gb in own), 2)}
        if name != "trl":
            theirs = [s for s, _ in times["trl"]]
            found[name]["ratio"] = round(statistics.median(seconds) / statistics.median(theirs), 3)
            found[name]["ratio_pairs"] = [round(a / b, 3) for a, b in zip(seconds, theirs, strict=True)]
    return found


def by_each_way(bench: Bench, call: Callable[[], Measured]) -> dict[str, Callable[[], Measured]]:
    """Our side, with CUDA graphs and without."""

    def by(graphs: bool) -> Callable[[], Measured]:
        def run() -> Measured:
            drawing.GRAPHS = graphs
            return call()

        return run

    return {way: by(way == "graphs") for way in bench.ways}


def rollouts(bench: Bench, templated: bool = False, tokens: int = 0) -> dict[str, Any]:
    bench.tokens = tokens or bench.o.completion
    theirs, ours = bench.steps(False), bench.steps(True, templated=templated)
    return compare({"trl": theirs.rollouts, **by_each_way(bench, ours.rollouts)}, bench.o.pairs)


def rollouts_continuous(bench: Bench) -> dict[str, Any]:
    bench.tokens = bench.o.completion
    options = {"use_transformers_continuous_batching": True, "generation_kwargs": None}
    theirs, continuous = bench.steps(False), bench.steps(False, **options)
    return compare({"trl": theirs.rollouts, "continuous": continuous.rollouts}, bench.o.pairs)


def step(bench: Bench, dead: float = 0.0, templated: bool = False) -> dict[str, Any]:
    bench.tokens = bench.o.completion
    theirs, ours = bench.steps(False, dead=dead), bench.steps(True, dead=dead, templated=templated)
    return compare({"trl": theirs.whole, **by_each_way(bench, ours.whole)}, bench.o.pairs)


def exact(bench: Bench) -> dict[str, Any]:
    """Each way on a small model in float32. A way that fails is not measured any more."""
    found: dict[str, Any] = {}
    for way in list(bench.ways):
        drawing.GRAPHS = way == "graphs"
        try:
            found[way] = exact_by(bench.device)
        except Exception:  # see main
            bench.ways.remove(way)
            found[way] = {"failed": traceback.format_exc().strip()}
    return found


def exact_by(device: torch.device) -> dict[str, Any]:
    """Share of equal tokens in greedy completions, and the log-probs of sampled ones against a forward pass."""
    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, eos_token_id=2, bos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    model = LlamaForCausalLM(shape).to(device).eval()
    rows = torch.randint(3, 64, (4, 30), device=device).repeat_interleave(K, 0)
    batch = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
    config = GenerationConfig(max_new_tokens=150, do_sample=False, pad_token_id=0, eos_token_id=2, disable_compile=True)
    sampled = copy.deepcopy(config)
    sampled.update(do_sample=True, top_k=0, temperature=1.0)
    with torch.no_grad():
        theirs = model.generate(**batch, generation_config=config)[:, rows.size(1) :]
        with drawing.efficient(model) as drawn:
            ours = model.generate(**batch, generation_config=config)[:, rows.size(1) :]
            whole = model.generate(**batch, generation_config=sampled)
        logits = model(whole).logits[:, rows.size(1) - 1 : -1].float()
    width = min(ours.size(1), theirs.size(1))
    expected = logits.log_softmax(-1).gather(2, whole[:, rows.size(1) :, None])[:, :, 0]
    given = drawn[1].logps
    return {
        "greedy_equal": round(float((ours[:, :width] == theirs[:, :width]).float().mean()), 5),
        "lengths": [ours.size(1), theirs.size(1)],
        "largest_logp_difference": float((given - expected)[given != 0].abs().max()),
    }


MEASURES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "exact": exact,
    "rollouts": rollouts,
    "rollouts_templated": lambda bench: rollouts(bench, templated=True),
    "step_templated": lambda bench: step(bench, templated=True),
    "step_dead": lambda bench: step(bench, dead=0.8),
    "step": step,
    "rollouts_long": lambda bench: rollouts(bench, tokens=bench.o.long),
    "rollouts_continuous": rollouts_continuous,
}


def table(content: dict[str, Any]) -> str:
    """The measures as lines: seconds, ratio over TRL's, peak memory."""
    lines = [f"{'measure':<20} {'side':<11} {'seconds':>9} {'over TRL':>9} {'peak GB':>8}"]
    for name, found in content["measures"].items():
        if "error" in found:
            lines.append(f"{name:<20} {found['error'].splitlines()[-1]}")
            continue
        for side, row in found.items():
            if "seconds" in row:
                ratio = f"{row['ratio']:.3f}" if "ratio" in row else ""
                lines.append(f"{name:<20} {side:<11} {row['seconds']:>9.3f} {ratio:>9} {row['peak_gb']:>8.2f}")
            else:
                lines.append(f"{name:<20} {side:<11} {json.dumps(row)}")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random", help="random, or builtin:sandbox, or builtin:smollm2")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--hidden", type=int, default=1024, help="of the random model; a multiple of 64")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--groups", type=int, default=5, help=f"of {K} rollouts")
    parser.add_argument("--prompt", type=int, default=512, help="tokens")
    parser.add_argument("--completion", type=int, default=64, help="tokens")
    parser.add_argument("--long", type=int, default=256, help="tokens of rollouts_long")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--seconds", type=float, default=170, help="no measure begins later")
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    begin, o = time.perf_counter(), options()
    warnings.simplefilter("ignore")
    bench = Bench(o)
    cuda = o.device != "cpu"
    content: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} thread(s)",
        "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
        "model": o.model,
        "parameters": sum(p.numel() for p in bench.source.parameters()),
        "dtype": str(bench.source.dtype),
        "rows": o.groups * K,
        "tokens": {"prompt": o.prompt, "completion": o.completion, "long": o.long},
        "measures": {},
    }
    for name in o.only.split(","):
        if time.perf_counter() - begin > o.seconds:
            content["measures"][name] = {"error": "not begun: no time left"}
            continue
        try:
            found = MEASURES[name](bench)
        except Exception:  # the card is lent for minutes: one failure must not cost the other figures
            found = {"error": traceback.format_exc().strip()}
            print(found["error"], flush=True)
        content["measures"][name] = found
        content["seconds"] = round(time.perf_counter() - begin, 1)
        o.out.write_text(json.dumps(content, indent=1) + "\n")
        print(name, f"{content['seconds']} s", json.dumps(found), flush=True)
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    o.out.write_text(json.dumps(content, indent=1) + "\n")
    print(
        f"\n{content['device']}, torch {content['versions']['torch']}, {content['parameters'] / 1e6:.0f} M parameters"
    )
    print(table(content))


if __name__ == "__main__":
    main()
