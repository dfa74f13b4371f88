"""Writes the sandbox's data: seeded, disjoint train, dev and test sums.

Shell: ``python tools/sandbox/make_data.py [--out src/p2o/data/sandbox]``
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

PACKAGE_DATA = Path(__file__).resolve().parents[2] / "src" / "p2o" / "data" / "sandbox"
SIZES = {"train": (128, 32), "dev": (64, 16), "test": (160, 40), "easy": (0, 400)}
"""Hard and easy rows of each file. The last one tells a forgotten easy sum from bad luck: 40 sums are too few."""
SEED = 20


def carries(a: int, b: int) -> bool:
    """Whether some column hands a carry to a column on its left (the leading column has none)."""
    while a >= 10 and b >= 10:
        if a % 10 + b % 10 >= 10:
            return True
        a, b = a // 10, b // 10
    return False


def draw(rng: random.Random, digits: int) -> tuple[int, int]:
    """Two numbers of that many digits; from three digits on with at least one carry."""
    low, high = (10 ** (digits - 1), 10**digits) if digits > 1 else (1, 10)
    while True:
        a, b = rng.randrange(low, high), rng.randrange(low, high)
        if digits < 3 or carries(a, b):
            return a, b


def question(a: int, b: int) -> str:
    return f"What is {a} + {b}?"


def row_of(a: int, b: int) -> dict[str, Any]:
    """A sum with its solution, as the policy would write it, and the steps that may be shown of it: the policy
    understands only the instructions that it was taught. An easy sum has none, it is answered at once."""
    from world import CHOICES, PHRASES, answer  # it imports this module

    hard = max(a, b) >= 100
    row = {"prompt": question(a, b), "answer": str(a + b), "level": "hard" if hard else "easy"}
    made = CHOICES if hard else ()
    return {**row, "solution": answer(a, b, made).text, "solution_steps": [PHRASES[choice][0] for choice in made]}


def make_rows(seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    rng = random.Random(seed)
    taken: set[tuple[int, int]] = set()
    files = {}
    for split, (n_hard, n_easy) in SIZES.items():
        # Three fifths of the hard sums have three digits, the others four; easy ones have two.
        digits = [2] * n_easy + [3] * (3 * n_hard // 5) + [4] * (n_hard - 3 * n_hard // 5)
        rows = []
        for n in digits:
            while True:
                a, b = draw(rng, n)
                pair = (min(a, b), max(a, b))  # 12 + 34 and 34 + 12 are one sum
                if pair not in taken:
                    break
            taken.add(pair)
            rows.append(row_of(a, b))
        rng.shuffle(rows)
        files[split] = [{"id": f"{split}-{i:03d}", **row} for i, row in enumerate(rows)]
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=PACKAGE_DATA)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for split, rows in make_rows(args.seed).items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (args.out / f"{split}.jsonl").write_text(text, encoding="utf-8")
        print(f"{split}: {len(rows)} rows")


if __name__ == "__main__":
    main()
