"""Measures the built-in policy against the bars of the laboratory, prints and writes the figures.

Shell::

    python tools/sandbox/calibrate.py
    python tools/sandbox/calibrate.py --policy runs/mild --out runs/mild/calibration.json
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from make_data import PACKAGE_DATA, SIZES
from transformers import AutoTokenizer, DynamicCache, LlamaForCausalLM
from world import CHOICES, PHRASES, USELESS, answer, at_once

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "sandbox-calibration.json"
Row = dict[str, str]


def rows_of(level: str, *splits: str) -> list[Row]:
    found = []
    for split in splits:
        for line in (PACKAGE_DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["level"] == level:
                found.append(row)
    return found


def numbers(row: Row) -> tuple[int, int]:
    a, b = (int(n) for n in re.findall(r"\d+", row["prompt"]))
    return a, b


def is_right(row: Row, text: str) -> bool:
    found = re.findall(r"\d+", text)
    return bool(found) and found[-1] == row["answer"]


class Policy:
    """A policy that answers many prompts quickly: rows that have ended leave the batch."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = LlamaForCausalLM.from_pretrained(folder).eval()
        self.generator = torch.Generator().manual_seed(seed)

    def encode(self, template: str, row: Row) -> list[int]:
        text = f"{template}\n\n{row['prompt']}" if template else row["prompt"]
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        return list(self.tokenizer(chat, add_special_tokens=False)["input_ids"])

    @torch.inference_mode()
    def _answer_batch(self, prompts: list[list[int]], greedy: bool, limit: int) -> list[str]:
        eos = self.tokenizer.eos_token_id
        length = max(map(len, prompts))
        ids_BT = torch.tensor([[0] * (length - len(p)) + p for p in prompts])
        mask_BT = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])
        position_B = mask_BT.sum(1)
        cache = DynamicCache()
        output = self.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            logits_to_keep=1,
        )
        alive = torch.arange(len(prompts))
        texts: list[list[int]] = [[] for _ in prompts]
        for step in range(limit):
            logits_BV = output.logits[:, -1]
            if greedy:
                token_B = logits_BV.argmax(-1)
            else:
                token_B = torch.multinomial(logits_BV.softmax(-1), 1, generator=self.generator)[:, 0]
            for row, token in zip(alive.tolist(), token_B.tolist(), strict=True):
                texts[row].append(token)
            keep = (token_B != eos).nonzero()[:, 0]
            if len(keep) == 0 or step == limit - 1:
                break
            if len(keep) < len(alive):
                cache.batch_select_indices(keep)
                alive, mask_BT, position_B = alive[keep], mask_BT[keep], position_B[keep]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(keep), 1)], 1)
            output = self.model(
                input_ids=token_B[keep, None],
                attention_mask=mask_BT,
                position_ids=position_B[:, None],
                past_key_values=cache,
            )
            position_B = position_B + 1
        # An answer that did not end is no answer.
        return [self.tokenizer.decode(t, skip_special_tokens=True) if t[-1] == eos else "" for t in texts]

    def answers(self, pairs: Sequence[tuple[str, Row]], greedy: bool, limit: int = 56, batch: int = 1024) -> list[str]:
        """The answers to (template, row) pairs, in their order."""
        prompts = [self.encode(t, r) for t, r in pairs]
        order = sorted(range(len(pairs)), key=lambda i: len(prompts[i]))
        found = [""] * len(pairs)
        for start in range(0, len(order), batch):
            chunk = order[start : start + batch]
            texts = self._answer_batch([prompts[i] for i in chunk], greedy, limit)
            for i, text in zip(chunk, texts, strict=True):
                found[i] = text
        return found

    def success(self, pairs: Sequence[tuple[str, Row]], greedy: bool) -> float:
        texts = self.answers(pairs, greedy)
        return sum(is_right(r, t) for (_, r), t in zip(pairs, texts, strict=True)) / len(pairs)

    @torch.inference_mode()
    def forced(self, template: str, row: Row) -> tuple[dict[str, float], float, bool]:
        """The right answer, teacher-forced: each choice's probability given the earlier ones, the
        probability of the whole answer, and whether greedy decoding gets all but the choices right."""
        right = answer(*numbers(row), CHOICES)
        prompt = self.encode(template, row)
        target = [*self.tokenizer(right.text)["input_ids"], self.tokenizer.eos_token_id]
        logits_TV = self.model(input_ids=torch.tensor([prompt + target])).logits[0]
        logps_TV = logits_TV[len(prompt) - 1 : -1].log_softmax(-1)
        target_T = torch.tensor(target)
        logps_T = logps_TV.gather(1, target_T[:, None])[:, 0]
        choices = {f.choice: logps_T[f.at].exp().item() for f in right.forks}
        wrong = set((logps_TV.argmax(-1) != target_T).nonzero()[:, 0].tolist())
        return choices, logps_T.sum().exp().item(), not (wrong - {f.at for f in right.forks})


def spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "mean": round(sum(ordered) / len(ordered), 5),
        "p05": round(ordered[int(0.05 * len(ordered))], 5),
        "min": round(ordered[0], 5),
        "max": round(ordered[-1], 5),
    }


def templates_with(
    rng: random.Random, choices: Sequence[str], useless: tuple[int, int], separators: Sequence[str], twice: bool
) -> str:
    """One phrasing of each choice, some useless phrases, shuffled, maybe with duplicates."""
    phrases = [rng.choice(PHRASES[c]) for c in choices] + rng.sample(USELESS, rng.randint(*useless))
    if twice:
        phrases += rng.sample(phrases, min(2, len(phrases)))
    rng.shuffle(phrases)
    return rng.choice(separators).join(phrases)


def bare_success(policy: Policy, hard: Sequence[Row], rollouts: int) -> dict[str, float]:
    pairs = [("", hard[i % len(hard)]) for i in range(rollouts)]
    started = time.time()
    right = 0
    for start in range(0, rollouts, 20_000):
        part = pairs[start : start + 20_000]
        texts = policy.answers(part, greedy=False, batch=2048)
        right += sum(is_right(r, t) for (_, r), t in zip(part, texts, strict=True))
    return {
        "rollouts": rollouts,
        "right": right,
        "percent": round(100 * right / rollouts, 5),
        "seconds": round(time.time() - started, 1),
    }


def measure(policy: Policy, rollouts: int, repeats: int, seed: int) -> dict[str, object]:
    rng = random.Random(seed)
    hard, test = rows_of("hard", *SIZES), rows_of("hard", "test")
    easy = rows_of("easy", *SIZES)
    both = (" ", "\n")

    def with_templates(make: Callable[[], str], n: int = repeats) -> list[tuple[str, Row]]:
        return [(make(), row) for row in test for _ in range(n)]

    def both_ways(pairs: list[tuple[str, Row]]) -> dict[str, float]:
        return {
            "temperature_1": round(policy.success(pairs, greedy=False), 4),
            "greedy": round(policy.success(pairs, greedy=True), 4),
        }

    figures: dict[str, object] = {}
    bare_texts = policy.answers([("", r) for r in hard], greedy=True)
    forced = [policy.forced("", r) for r in hard]
    exact = [100 * p for _, p, _ in forced]
    figures["bare hard"] = {
        "greedy_right": sum(is_right(r, t) for r, t in zip(hard, bare_texts, strict=True)),
        "greedy_larger_number": round(
            sum(t == at_once(*numbers(r)) for r, t in zip(hard, bare_texts, strict=True)) / len(hard), 4
        ),
        "percent_right_by_probability": spread(exact),
        "greedy_right_if_the_choices_were_made": round(sum(g for *_, g in forced) / len(hard), 4),
        "sampled": bare_success(policy, hard, rollouts),
    }
    figures["choices bare"] = {c: spread([f[0][c] for f in forced]) for c in CHOICES}

    def all_four(useless: tuple[int, int], separators: Sequence[str], twice: bool) -> Callable[[], str]:
        return lambda: templates_with(rng, CHOICES, useless, separators, twice)

    pairs = with_templates(all_four((0, 0), both, False))
    told = [policy.forced(t, r) for t, r in pairs]
    figures["all four"] = both_ways(pairs)
    figures["choices told"] = {c: spread([f[0][c] for f in told]) for c in CHOICES}
    figures["three of four"] = {}
    for missing in CHOICES:
        rest = [c for c in CHOICES if c != missing]
        pairs = with_templates(lambda rest=rest: templates_with(rng, rest, (0, 2), both, False))
        figures["three of four"][f"without {missing}"] = both_ways(pairs)  # type: ignore[index]
    figures["easy bare"] = both_ways([("", r) for r in easy for _ in range(repeats)])
    figures["useless only"] = both_ways(with_templates(lambda: templates_with(rng, [], (1, 6), both, False)))
    unseen = "Dear reader, kindly solve this little sum for me. 2 + 2 = 4 is true, by the way!"
    figures["all four, among others"] = {
        "1 to 4 useless, space": both_ways(with_templates(all_four((1, 4), " ", False))),
        "1 to 4 useless, newline": both_ways(with_templates(all_four((1, 4), "\n", False))),
        "duplicates": both_ways(with_templates(all_four((0, 3), both, True))),
        "5 to 8 useless": both_ways(with_templates(all_four((5, 8), both, False))),
        "every useless one": both_ways(with_templates(all_four((12, 12), both, False))),
        "unseen text before": both_ways(
            with_templates(lambda: unseen + " " + templates_with(rng, CHOICES, (0, 2), both, False))
        ),
        "unseen text after": both_ways(
            with_templates(lambda: templates_with(rng, CHOICES, (0, 2), both, False) + "\n" + unseen)
        ),
    }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--policy", type=Path, default=PACKAGE_DATA / "policy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rollouts", type=int, default=100_000, help="bare rollouts at temperature 1")
    parser.add_argument("--repeats", type=int, default=2, help="templates drawn for each test sum")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.time()
    figures = measure(Policy(args.policy, args.seed), args.rollouts, args.repeats, args.seed)
    figures["seconds"] = round(time.time() - started, 1)
    text = json.dumps(figures, indent=2)
    print(text)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
