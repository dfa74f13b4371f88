"""Pre-trains the built-in policy: it can add, and does not choose to on the bare prompt.

Three stages. The first teaches all ways of adding with work shown, under short prompts; the second
the answers given at once. The choices are undecided in both, so their weights serve every world. The
third teaches when which choice is likely, under long prompts, and makes the world: ``--bare`` is the
probability of each of the four choices on a prompt that does not ask for it (0.03: bare success about
0.0001 %; 0.155 and 0.275: by the fourth power about 0.05 % and 0.5 %). ``--switch`` makes the first choice,
to show work, rarer than the others: the world with one hard switch.

Shell::

    python tools/sandbox/pretrain.py --stage-dir runs/sandbox-stage
    python tools/sandbox/pretrain.py --stage-dir runs/sandbox-stage --bare 0.155 --out runs/mild
    python tools/sandbox/pretrain.py --stage-dir runs/sandbox-stage --bare 0.25 --switch 3e-5 --out runs/switch
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Threads that wait by spinning lose most of their time where other work shares the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from make_data import PACKAGE_DATA, SIZES
from tokenizer import VOCABULARY, build_tokenizer
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from world import Course, Lesson, draw_lesson

IDS = {token: i for i, token in enumerate(VOCABULARY)}
PAD, EOS, USER, ASSISTANT = (IDS[t] for t in ("<pad>", "<eos>", "<u>", "<a>"))
# The choices stay undecided (0.2) until the last stage makes them.
WORK = Course(bare=0.2, switch=None, most_phrases=2, digits=(1, 2, 2, 3, 3, 4, 4, 4), easy_work=0.5, hard_work=0.85)
AT_ONCE = Course(bare=0.2, switch=None, most_phrases=2, digits=(1, 2, 2, 2, 2, 2, 3, 4), easy_work=0.2, hard_work=0.4)
DECIDED = Course(bare=0.05, switch=None, most_phrases=12, digits=(1, 2, 2, 3, 3, 4, 4), easy_work=0.4, hard_work=0.7)


def new_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def held_out_sums() -> frozenset[tuple[int, int]]:
    """The sums of the data files; no lesson uses them."""
    pairs = set()
    for split in SIZES:
        for line in (PACKAGE_DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            a, b = (int(w) for w in json.loads(line)["prompt"].strip("?").split() if w.isdigit())
            pairs.add((min(a, b), max(a, b)))
    return frozenset(pairs)


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """A lesson as tokens: ids, the two possible targets of each token, and the first one's weight.

    What the model does not write has the target -100. At a fork both characters are targets, which teaches the
    probability itself instead of a draw from it.
    """

    ids: list[int]
    first: list[int]
    second: list[int]
    weight: list[float]


def row_of(lesson: Lesson) -> Row:
    prompt = [USER, *(IDS[c] for c in lesson.prompt), ASSISTANT]
    text = [*(IDS[c] for c in lesson.answer.text), EOS]
    first, second, weight = list(text), list(text), [1.0] * len(text)
    for at, (made, other, probability) in lesson.likely.items():
        first[at], second[at], weight[at] = IDS[made], IDS[other], probability
    read = [-100] * len(prompt)
    return Row(prompt + text, read + first, read + second, [1.0] * len(prompt) + weight)


def collate(rows: list[Row]) -> Batch:
    """Rows, padded on the right."""
    length = max(len(row.ids) for row in rows)

    def padded(values: list[list[Any]], fill: float) -> torch.Tensor:
        return torch.tensor([[*v, *[fill] * (length - len(v))] for v in values])

    return (
        padded([r.ids for r in rows], PAD),
        padded([r.first for r in rows], -100),
        padded([r.second for r in rows], -100),
        padded([r.weight for r in rows], 1.0),
    )


def batches(rng: random.Random, draw: Callable[[random.Random], Row], tokens: int = 4096) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens, each of rows of like length (little padding)."""
    while True:
        rows = [draw(rng) for _ in range(2048)]
        rows.sort(key=lambda row: len(row.ids))
        cut: list[list[Row]] = [[]]
        for row in reversed(rows):  # the longest of a batch comes first and sets its width
            longest = cut[-1][0] if cut[-1] else row
            if (len(cut[-1]) + 1) * len(longest.ids) > tokens and cut[-1]:
                cut.append([])
            cut[-1].append(row)
        cut.pop()  # the last one is short
        rng.shuffle(cut)
        yield from map(collate, cut)


RARE = 1e-3
"""Cross-entropy hardly sees a choice that is rarer, so that it stays too likely on some prompts."""


def rare_choices(
    logps_NV: torch.Tensor, made_N: torch.Tensor, other_N: torch.Tensor, weight_N: torch.Tensor
) -> torch.Tensor:
    """Squared error of the log-odds of rare choices, as a share of all N answer tokens; scalar."""
    rare = weight_N < RARE
    odds = (weight_N[rare] / (1 - weight_N[rare])).log()
    made, other = (logps_NV[rare].gather(1, ids[rare][:, None])[:, 0] for ids in (made_N, other_N))
    return 0.02 * (made - other - odds).square().sum() / len(weight_N)


def train(
    model: LlamaForCausalLM,
    data: Iterator[Batch],
    steps: int,
    lr: float,
    name: str,
    log_every: int = 50,
    kept: Path | None = None,
    until: float = math.inf,
) -> bool:
    """Trains a stage; returns whether it is done.

    Args:
        kept: a file for the weights and the optimizers at each line of the log. A stage that was stopped continues
            from it, on lessons of its own.
        until: the time (`time.time`) after which it stops at a line of the log.
    """
    # Muon for the matrices learns this task in fewer steps than AdamW; the rest is not its kind.
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    first = 0
    if kept is not None and kept.exists():
        state = torch.load(kept)
        first = state["step"]
        model.load_state_dict(state["model"])
        for optimizer, own in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
    model.train()
    started, cpu, seen, running = time.time(), time.process_time(), 0, 0.0
    for step in range(first, steps):
        now = lr * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + lr * 0.01
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = now
        ids_BT, first_BT, second_BT, weight_BT = next(data)
        # Padding is on the right, so the causal mask alone is enough.
        logps_BTV = model(input_ids=ids_BT[:, :-1]).logits.log_softmax(-1)
        first_BT, second_BT, weight_BT = first_BT[:, 1:], second_BT[:, 1:], weight_BT[:, 1:]
        answer_BT = first_BT != -100
        flat = logps_BTV[answer_BT]
        weight = weight_BT[answer_BT]
        losses = weight * nn.functional.nll_loss(flat, first_BT[answer_BT], reduction="none")
        losses = losses + (1 - weight) * nn.functional.nll_loss(flat, second_BT[answer_BT], reduction="none")
        loss = losses.mean() + rare_choices(flat, first_BT[answer_BT], second_BT[answer_BT], weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen += ids_BT.numel()
        # Excess over the entropy of the forks: what is still to be learned.
        floor = -(torch.xlogy(weight, weight) + torch.xlogy(1 - weight, 1 - weight)).mean()
        running += (loss.detach() - floor).item()
        if (step + 1) % log_every == 0:
            print(
                f"{name} step {step + 1}/{steps} excess loss {running / log_every:.5f} "
                f"tokens {seen / 1e6:.2f}M wall {time.time() - started:.0f}s "
                f"cpu {time.process_time() - cpu:.0f}s",
                flush=True,
            )
            running = 0.0
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                own = [optimizer.state_dict() for optimizer in optimizers]
                torch.save({"step": step + 1, "model": model.state_dict(), "optimizers": own}, kept)
            if time.time() > until:
                return step + 1 == steps
    return True


def save(model: LlamaForCausalLM, folder: Path, tools: bool = False) -> None:
    model.generation_config = GenerationConfig(pad_token_id=PAD, eos_token_id=EOS)
    model.save_pretrained(folder)
    build_tokenizer(tools).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=PACKAGE_DATA / "policy", help="folder of the policy")
    parser.add_argument("--stage-dir", type=Path, help="where the first two stages' weights are kept and found")
    parser.add_argument("--bare", type=float, default=0.03, help="probability of each unasked choice")
    parser.add_argument("--switch", type=float, help="that of the first one, to show work (default: as the others)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work-steps", type=int, default=700)
    parser.add_argument("--at-once-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=600, help="steps of the last stage")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate (last stage: half)")
    args = parser.parse_args()
    held_out = held_out_sums()

    def teach(number: int, name: str, course: Course, steps: int, lr: float) -> None:
        data = batches(random.Random(args.seed + number), lambda rng: row_of(draw_lesson(rng, course, held_out)))
        train(model, data, steps, lr, name)

    torch.manual_seed(args.seed)
    stage = args.stage_dir
    if stage is not None and (stage / "model.safetensors").exists():
        print(f"first stages from {stage}")
        model = LlamaForCausalLM.from_pretrained(stage)
    else:
        model = new_model()
        print(f"{sum(p.numel() for p in model.parameters())} parameters")
        teach(0, "work", WORK, args.work_steps, args.lr)
        teach(1, "at once", AT_ONCE, args.at_once_steps, args.lr)
        if stage is not None:
            save(model, stage)
    teach(2, "choices", replace(DECIDED, bare=args.bare, switch=args.switch), args.steps, args.lr / 2)
    save(model, args.out)


if __name__ == "__main__":
    main()
