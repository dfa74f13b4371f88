"""Makes the world with a calculator: the sums, and the policy that does not call it on the bare prompt.

It begins with the weights of the sandbox's policy, which copies numbers and reads instructions already. Two stages. The
first teaches all conversations with the choices undecided, under short prompts; the second teaches when
which choice is likely, under long ones. ``--bare`` is the probability of each of the four choices on a prompt that does
not ask for it. Only what the model writes is taught, not what the calculator answers.

Shell::

    python tools/sandbox/pretrain_tools.py
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from make_data import PACKAGE_DATA
from pretrain import Row, batches, save, train
from tokenizer import TOOL_VOCABULARY
from tools_world import Sum, ToolLesson, draw_sum, draw_tool_lesson, question
from transformers import LlamaForCausalLM

FOLDER = PACKAGE_DATA.with_name("sandbox-tools")
SIZES = {"train": 128, "dev": 64, "test": 160}
SEED = 20
UNDECIDED = 0.2
IDS = {token: i for i, token in enumerate(TOOL_VOCABULARY)}


def make_sums(seed: int = SEED) -> dict[str, list[Sum]]:
    """The sums of each data file, all different."""
    rng, taken = random.Random(seed), set[Sum]()
    files: dict[str, list[Sum]] = {}
    for split, size in SIZES.items():
        files[split] = []
        while len(files[split]) < size:
            found = draw_sum(rng, taken)
            taken.add(found)
            files[split].append(found)
    return files


def write_data(folder: Path) -> None:
    for split, sums in make_sums().items():
        rows = [
            {"id": f"{split}-{n:03d}", "prompt": question(a, b, c), "answer": str(a * b + c)}
            for n, (a, b, c) in enumerate(sums)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def row_of(lesson: ToolLesson) -> Row:
    ids = [IDS[token] for token in lesson.prompt]
    row = Row(ids, [-100] * len(ids), [-100] * len(ids), [1.0] * len(ids))
    for part in lesson.turns:
        written = [IDS.get(token, IDS[" "]) for token in part.tokens]  # as the tokenizer reads what it does not know
        first = list(written) if part.of_model else [-100] * len(written)
        second, weight = list(first), [1.0] * len(written)
        for at, (choice, made, other) in part.forks.items():
            first[at], second[at], weight[at] = IDS[made], IDS[other], lesson.likely[choice]
        row.ids.extend(written)
        row.first.extend(first)
        row.second.extend(second)
        row.weight.extend(weight)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER / "policy", help="folder of the policy")
    parser.add_argument("--stage-dir", type=Path, help="where the first stage's weights are kept and found")
    parser.add_argument("--bare", type=float, default=0.03, help="probability of each unasked choice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=300, help="steps of the last stage")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate (last stage: half)")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    write_data(FOLDER)
    held_out = {found for sums in make_sums().values() for found in sums}

    def teach(number: int, name: str, bare: float, most_phrases: int, steps: int, lr: float) -> None:
        def draw(rng: random.Random) -> Row:
            return row_of(draw_tool_lesson(rng, bare, most_phrases, held_out))

        train(model, batches(random.Random(args.seed + number), draw), steps, lr, name)

    torch.manual_seed(args.seed)
    if args.stage_dir is not None and (args.stage_dir / "model.safetensors").exists():
        print(f"first stage from {args.stage_dir}")
        model = LlamaForCausalLM.from_pretrained(args.stage_dir)
    else:
        model = LlamaForCausalLM.from_pretrained(PACKAGE_DATA / "policy")
        model.resize_token_embeddings(len(TOOL_VOCABULARY), mean_resizing=False)
        print(f"{sum(p.numel() for p in model.parameters())} parameters")
        teach(0, "conversations", UNDECIDED, 2, args.first_steps, args.lr)
        if args.stage_dir is not None:
            save(model, args.stage_dir, tools=True)
    teach(1, "choices", args.bare, 12, args.steps, args.lr / 2)
    save(model, args.out, tools=True)


if __name__ == "__main__":
    main()
