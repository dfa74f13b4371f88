"""Which reasoning-gym task, answer format and template suit SmolLM2-135M-Instruct?

For each task, format and template: how often a rollout is solved and how often it has the format; for the bare
prompt, the share of groups on which every rollout fails; for templated successes, whether their tokens pass the
ratio mask (what does not pass can be unlocked but never distilled).

Shell: ``python benchmarks/smollm2_tasks.py --tasks add1 --formats result,boxed --samples 16 --out table.json``

Success too rare to be met by sampling is computed instead: ``--likelihood`` gives the probability of the right answer
in each format, steps in front. That of the SmolLM2 recipe, among others:
``python benchmarks/smollm2_tasks.py --tasks addsub1 --formats lines,final,boxed --temperature 0.7 --likelihood``
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from p2o.core.distill import ratio_mask
from p2o.core.samples import Sample
from p2o.core.templates import apply_template
from p2o.data import load_samples
from p2o.generation.models import resolve_model
from p2o.rewards import resolve_reward

_SUM = "reasoning_gym:basic_arithmetic?min_terms=2&max_terms=2&allow_parentheses=false&allow_negation=false"
Example = tuple[str, str, str]
"""Question, steps, answer; the answers should be no sample's, so that the leak guard lets them pass."""
_PLUS: tuple[Example, Example] = (
    ("Calculate 20 + 30.", "20 + 30 = 50", "50"),
    ("Calculate 40 + 50.", "40 + 50 = 90", "90"),
)
_BIG_PLUS: tuple[Example, Example] = (
    ("Calculate 200 + 300.", "200 + 300 = 500", "500"),
    ("Calculate 400 + 500.", "400 + 500 = 900", "900"),
)
_CHAIN = "State the final answer to the following arithmetic problem:"
_LETTERS = 'How many times does the letter "z" appear in the text:'
_BITS = "How many 1 bits are there in the binary representation of the number"
TASKS: dict[str, tuple[str, tuple[Example, Example]]] = {
    "add1": (_SUM + "&max_digits=1&operators=('%2B',)", _PLUS),
    "add12": (_SUM + "&max_digits=2&operators=('%2B',)", _BIG_PLUS),
    "addsub1": (
        _SUM + "&max_digits=1&operators=('%2B','-')",
        (_PLUS[0], ("Calculate 90 - 50.", "90 - 50 = 40", "40")),
    ),
    "mul1": (
        _SUM + "&max_digits=1&operators=('*',)",
        (("Calculate 20 * 30.", "20 * 30 = 600", "600"), ("Calculate 40 * 20.", "40 * 20 = 800", "800")),
    ),
    "mix1": (
        _SUM + "&max_digits=1&operators=('%2B','-','*')",
        (_BIG_PLUS[0], ("Calculate 20 * 30.", "20 * 30 = 600", "600")),
    ),
    "chain1": (
        "reasoning_gym:chain_sum?min_terms=2&max_terms=2&max_digits=1",
        ((f"{_CHAIN} 20 + 30 =", "20 + 30 = 50", "50"), (f"{_CHAIN} 90 - 50 =", "90 - 50 = 40", "40")),
    ),
    "letters": (
        "reasoning_gym:letter_counting?min_words=3&max_words=5",
        (
            (f'{_LETTERS} "zzzz zzz"?', "4 + 3 = 7", "7"),
            (f'{_LETTERS} "zzzzz zzz"?', "5 + 3 = 8", "8"),
        ),
    ),
    "bits": (
        "reasoning_gym:count_bits?max_n=63",
        (
            (f"{_BITS} 255?", "255 is 11111111", "8"),
            (f"{_BITS} 127?", "127 is 1111111", "7"),
        ),
    ),
}
"""name → (source, two worked examples)."""

N = r"(-?\d[\d,]*)"
FORMATS: dict[str, tuple[str, str]] = {
    "answer": (rf"[Tt]he answer is {N}", "The answer is {}."),
    "answer_colon": (rf"[Tt]he answer is: {N}", "The answer is: {}"),
    "final": (rf"[Tt]he final answer is:? {N}", "The final answer is {}."),
    "result": (rf"[Tt]he result is:? {N}", "The result is {}."),
    "total": (rf"[Tt]he total is:? {N}", "The total is {}."),
    "label": (rf"Answer: {N}", "Answer: {}"),
    "equation": (rf"= {N}", "= {}"),
    "tags": (rf"<answer>\s*{N}\s*</answer>", "<answer>{}</answer>"),
    "boxed": (rf"\\boxed\{{{N}\}}", "\\boxed{{{}}}"),
    "lines": (rf"\A\d+ [-+] \d+ = -?\d+\nThe result is {N}", "The result is {}."),
}
"""name → (pattern, the format with {} for the answer)."""


def templates(form: str, examples: tuple[Example, Example]) -> dict[str, str]:
    """Templates for one format; "bare" is none."""
    told = f'Write the equation, then write "{form.format("…")}" with the number.'
    shown = [f"{question}\n{form.format(answer)}" for question, _, answer in examples]
    worked = [f"{question}\n{steps}. {form.format(answer)}" for question, steps, answer in examples]
    lines = [f"{question}\n{steps}\n{form.format(answer)}" for question, steps, answer in examples]
    return {
        "bare": "",
        "strategy": "Write the equation with its result.",
        "told": told,
        "shown": shown[0],
        "worked": worked[0],
        "worked_lines": lines[0],
        "worked_twice": "\n\n".join(lines),
        "as_examples": "Answer as in these examples:\n" + "\n".join(lines),
        "told+worked": f"{told}\n\n{worked[0]}",
        "told+lines": f"{told}\n\n{lines[0]}",
    }


class Policy:
    """Generation and log-probabilities of one model."""

    def __init__(self, name: str, batch: int) -> None:
        path = resolve_model(name)
        self.tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        self.batch = batch

    def prompt_ids(self, template: str, sample: Sample) -> list[int]:
        text = self.tokenizer.apply_chat_template(
            apply_template(template, sample.messages), add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    @torch.no_grad()
    def generate(self, prompts: Sequence[list[int]], new_tokens: int, temperature: float) -> list[list[int]]:
        """Completions, the end token included where it was reached."""
        eos = self.tokenizer.eos_token_id
        settings: dict[str, Any] = {"do_sample": False}
        if temperature:
            settings = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        out = []
        for start in range(0, len(prompts), self.batch):
            padded = self.tokenizer.pad({"input_ids": list(prompts[start : start + self.batch])}, return_tensors="pt")
            rows = self.model.generate(**padded, max_new_tokens=new_tokens, **settings)
            for row in rows[:, padded["input_ids"].shape[1] :].tolist():
                out.append(row[: row.index(eos) + 1] if eos in row else row)
        return out

    @torch.no_grad()
    def logps(self, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
        """(T,) log-probabilities of a completion's tokens."""
        logits = self.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        logps = (logits.float() / temperature).log_softmax(-1)
        return logps.gather(1, torch.tensor(completion)[:, None])[:, 0]


def through_mask(
    policy: Policy,
    successes: Sequence[tuple[Sample, list[int]]],
    template: str,
    temperature: float,
    low: float = 0.01,
    high: float = 10.0,
) -> dict[str, Any]:
    """How much of the templated successes the ratio mask lets through, and which tokens it drops."""
    whole, inside, tokens = 0, 0, 0
    dropped: Counter[str] = Counter()
    for sample, ids in successes:
        bare_T = policy.logps(policy.prompt_ids("", sample), ids, temperature)
        templated_T = policy.logps(policy.prompt_ids(template, sample), ids, temperature)
        mask_T = ratio_mask(bare_T[None], templated_T[None], torch.tensor([True]), low, high)[0]
        whole += int(bool(mask_T.all()))
        inside += int(mask_T.sum())
        tokens += len(ids)
        names = policy.tokenizer.convert_ids_to_tokens(ids)
        signs = ["<" if b < t else ">" for b, t in zip(bare_T, templated_T, strict=True)]
        dropped.update(s + n for s, n, m in zip(signs, names, mask_T, strict=True) if not m)
    if not tokens:
        return {"whole_inside": None, "tokens_inside": None, "dropped": []}
    return {
        "whole_inside": whole / len(successes),
        "tokens_inside": inside / tokens,
        "dropped": dropped.most_common(6),
    }


def measure(
    policy: Policy, samples: Sequence[Sample], formats: dict[str, str], template: str, args: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """The figures of one template under each of the formats (name → pattern)."""
    began = time.monotonic()
    prompts = [policy.prompt_ids(template, sample) for sample in samples]
    K = args.num_generations
    sampled = policy.generate([p for p in prompts for _ in range(K)], args.new_tokens, args.temperature)
    greedy = policy.generate(prompts, args.new_tokens, 0.0)
    seconds = time.monotonic() - began
    owners = [sample for sample in samples for _ in range(K)]
    texts = policy.tokenizer.batch_decode(sampled, skip_special_tokens=True)
    greedy_texts = policy.tokenizer.batch_decode(greedy, skip_special_tokens=True)
    out: dict[str, dict[str, Any]] = {}
    for name, pattern in formats.items():
        reward = resolve_reward({"name": name, "pattern": pattern, "compare": "number"})
        scores = reward.score(texts, owners)
        solved = [score.reward == 1.0 for score in scores]
        by_group = [sum(solved[i : i + K]) for i in range(0, len(solved), K)]
        successes = [(s, ids) for s, ids, ok in zip(owners, sampled, solved, strict=True) if ok]
        row: dict[str, Any] = {
            "rollouts": len(solved),
            "solved": sum(solved) / len(solved),
            "formatted": sum("Wrong format" not in s.feedback for s in scores) / len(scores),
            "dead_groups": sum(n == 0 for n in by_group) / len(by_group),
            "greedy": sum(s.reward == 1.0 for s in reward.score(greedy_texts, samples)) / len(samples),
            "tokens": sum(map(len, sampled)) / len(sampled),
            "seconds": seconds,
            "examples": [text for text, ok in zip(texts, solved, strict=True) if ok][:3] or texts[:3],
        }
        if template:
            row |= through_mask(policy, successes[: args.mask_rows], template, args.temperature)
        out[name] = row
    return out


def likelihood(policy: Policy, samples: Sequence[Sample], form: str, template: str, temperature: float) -> str:
    """How probable the equation and, on the next line, the right answer in the format are; and the mask on them."""
    bare, templated, whole = [], [], 0
    lowest: Counter[str] = Counter()
    for sample in samples:
        equation = f"{sample.question.removeprefix('Calculate ').rstrip('.')} = {sample.answer}"
        ids = policy.tokenizer(f"{equation}\n{form.format(sample.answer)}", add_special_tokens=False).input_ids
        bare_T = policy.logps(policy.prompt_ids("", sample), ids, temperature)
        templated_T = policy.logps(policy.prompt_ids(template, sample), ids, temperature)
        bare.append(float(bare_T.sum().exp()))
        templated.append(float(templated_T.sum().exp()))
        whole += bool(ratio_mask(bare_T[None], templated_T[None], torch.tensor([True]), 0.01, 10.0).all())
        lowest[policy.tokenizer.convert_ids_to_tokens(ids)[int((bare_T - templated_T).argmin())]] += 1
    return (
        f"bare {fmean(bare):8.1e} (at most {max(bare):.1e})  under the template {fmean(templated):6.1%}  "
        f"whole inside the mask {whole} of {len(samples)}; lowest ratio at {lowest.most_common(2)}"
    )


def skill(policy: Policy, samples: Sequence[Sample]) -> str:
    """How often the model continues "a + b =" with the right number: what it can do when the format is no matter."""
    prompts = []
    for sample in samples:
        begun = sample.question.removeprefix("Calculate ").rstrip(".") + " ="
        prompts.append(policy.prompt_ids("", sample) + policy.tokenizer(begun, add_special_tokens=False).input_ids)
    texts = policy.tokenizer.batch_decode(policy.generate(prompts, 6, 0.0), skip_special_tokens=True)
    found = [re.match(r" (-?\d+)", text) for text in texts]
    right = [m is not None and m[1] == s.answer for m, s in zip(found, samples, strict=True)]
    below = [ok for ok, s in zip(right, samples, strict=True) if str(s.answer).startswith("-")]
    return f"{sum(right)} of {len(right)} questions; {sum(below)} of {len(below)} with a result below 0"


def show(task: str, form: str, name: str, row: dict[str, Any]) -> None:
    inside = row.get("whole_inside")
    mask = "" if inside is None else f"{inside:6.0%} {row['tokens_inside']:6.0%}  "
    mask += " ".join(f"{token}×{count}" for token, count in row.get("dropped", []))
    print(
        f"{task:9s}{form:13s}{name:14s}{row['solved']:7.1%}{row['formatted']:7.1%}{row['greedy']:7.1%}"
        f"{row['dead_groups']:7.1%}{row['tokens']:6.1f}  {mask}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="builtin:smollm2")
    parser.add_argument("--tasks", default="add1")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--templates", default="", help="names; all where empty")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--num_generations", type=int, default=6)
    parser.add_argument("--new_tokens", type=int, default=32)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--mask_rows", type=int, default=12, help="templated successes put through the mask")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument(
        "--likelihood", action="store_true", help="compute probabilities under as_examples; no sampling"
    )
    parser.add_argument("--skill", action="store_true", help="greedy success with the format forced; nothing else")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    policy = Policy(args.model, args.batch)
    wanted = args.formats.split(",")
    if args.skill:
        for task in args.tasks.split(","):
            samples = load_samples(f"{TASKS[task][0]}&size={args.samples * 2}&seed={args.seed}")
            print(f"{task:9s}{skill(policy, samples)}", flush=True)
        return
    if args.likelihood:
        for task in args.tasks.split(","):
            source, examples = TASKS[task]
            samples = load_samples(f"{source}&size={args.samples * 2}&seed={args.seed}")[: args.samples]
            for form in (FORMATS[name][1] for name in wanted):
                text = templates(form, examples)["as_examples"]
                print(f"{task:9s}{form:24s}{likelihood(policy, samples, form, text, args.temperature)}", flush=True)
        return
    rows: list[dict[str, Any]] = []
    print("task     format       template        solved format greedy   dead  toks  whole/tokens inside, dropped")
    for task in args.tasks.split(","):
        source, examples = TASKS[task]
        samples = load_samples(f"{source}&size={args.samples * 2}&seed={args.seed}")[: args.samples]
        done: set[tuple[str, str]] = set()
        for form in wanted:
            for name, template in templates(FORMATS[form][1], examples).items():
                if (args.templates and name not in args.templates.split(",")) or (form, name) in done:
                    continue
                shared = wanted if name in ("bare", "strategy") else [form]
                found = measure(policy, samples, {f: FORMATS[f][0] for f in shared}, template, args)
                for other, row in found.items():
                    done.add((other, name))
                    rows.append({"task": task, "format": other, "template": name, "text": template, **row})
                    show(task, other, name, row)
                if args.out:
                    settings = {k: v for k, v in vars(args).items() if k != "out"}
                    settings["versions"] = {"torch": torch.__version__}
                    args.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
