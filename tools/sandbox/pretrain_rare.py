"""Makes the world `rare`: the questions and the policy (`rare_world.py` says what it is).

It begins with the weights of the sandbox's policy, which adds numbers and reads instructions already. The first stage
teaches all answers with the choices undecided, under short prompts; the others teach when which choice is likely, under
long ones. Each stage takes a few minutes; with ``--stage-dir`` what is done is kept, and the same command continues.
``--minutes 5`` stops after about five minutes.

Shell::

    python tools/sandbox/pretrain_rare.py --stage-dir runs/rare-stages
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from make_data import PACKAGE_DATA
from pretrain import batches, row_of, save, train
from rare_phrases import PHRASES
from rare_world import CHOICES, KINDS, Course, Question, answer, draw_lesson, draw_question, needs
from transformers import LlamaForCausalLM

FOLDER = PACKAGE_DATA.with_name("sandbox-rare")
SIZES = {"train": 144, "dev": 48, "test": 144}
SEED = 20
BARE = 0.025


@dataclass(frozen=True)
class Stage:
    course: Course
    steps: int
    lr: float
    """Peak learning rate."""


STAGES = (
    Stage(Course(bare=0.3, most_phrases=2, decided=False), 200, 4e-3),
    Stage(Course(bare=BARE, most_phrases=8), 500, 3e-3),
    Stage(Course(bare=BARE, most_phrases=8), 1600, 3e-3),
    Stage(Course(bare=BARE, most_phrases=8), 1200, 3e-3),
)


def levels(kind: str) -> tuple[Callable[[Question], bool], ...]:
    """What the questions of a kind need, in the order in which a file has them: so it holds as many of each."""

    def needing(*more: str) -> Callable[[Question], bool]:
        return lambda question: set(needs(question)) == {"work", "finish", *more}

    if kind == "sum":
        return needing(), needing("right"), needing("right")
    if kind == "larger":
        return needing(), needing("left"), needing("left")
    return needing(), needing("again"), needing("running"), needing("running", "again")


def make_questions(seed: int = SEED) -> dict[str, list[Question]]:
    """The questions of each data file, all different."""
    rng, taken = random.Random(seed), set[Question]()
    files: dict[str, list[Question]] = {}
    for split, size in SIZES.items():
        files[split] = []
        for kind in KINDS:
            wanted = levels(kind)
            for n in range(size // len(KINDS)):
                question = draw_question(rng, kind, taken)
                while not wanted[n % len(wanted)](question):
                    question = draw_question(rng, kind, taken)
                taken.add(question)
                files[split].append(question)
        rng.shuffle(files[split])
    return files


def row_of_file(question: Question) -> dict[str, Any]:
    """A question with its solution, as the policy would write it, and the instructions that it needs."""
    needed = [choice for choice in CHOICES if choice in needs(question)]
    return {
        "prompt": question.text,
        "answer": question.right,
        "kind": question.kind,
        "needs": len(needed),
        "solution": answer(question, needed).text,
        "solution_steps": [PHRASES[choice][0] for choice in needed],
    }


def write_data(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for split, questions in make_questions().items():
        rows = [{"id": f"{split}-{n:03d}", **row_of_file(question)} for n, question in enumerate(questions)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER / "policy", help="folder of the policy")
    parser.add_argument("--stage-dir", type=Path, help="where the weights of finished stages are kept and found")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time; needs --stage-dir")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write_data(FOLDER)
    held_out = {question for questions in make_questions().values() for question in questions}
    kept = [args.stage_dir / str(n) for n in range(len(STAGES))] if args.stage_dir else []
    done = sum((folder / "model.safetensors").exists() for folder in kept)
    model = LlamaForCausalLM.from_pretrained(kept[done - 1] if done else PACKAGE_DATA / "policy")
    until = time.time() + 60 * args.minutes
    for number, stage in list(enumerate(STAGES))[done:]:
        torch.manual_seed(args.seed)
        partial = args.stage_dir / f"{number}.pt" if args.stage_dir else None
        first = torch.load(partial)["step"] if partial and partial.exists() else 0
        rng = random.Random(args.seed + number + 1000 * first)
        data = batches(rng, lambda rng, course=stage.course: row_of(draw_lesson(rng, course, held_out)))
        if not train(model, data, stage.steps, stage.lr, f"stage {number + 1}", kept=partial, until=until):
            break
        done += 1
        if kept:
            save(model, kept[number])
    if done == len(STAGES):
        save(model, args.out)
    else:
        print(f"{done} of {len(STAGES)} stages done; the same command continues")


if __name__ == "__main__":
    main()
