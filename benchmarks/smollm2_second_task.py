"""Is there a task on which a prompt helps SmolLM2 for another reason than the format, and GRPO has nothing at first?

    python benchmarks/smollm2_second_task.py        # about 8 minutes on one core; prints a table

Small tasks of reasoning-gym, asked bare and under three examples, ``DRAWS`` rollouts each at temperature 0.7. An
answer counts as right when it holds the gold answer as a word of its own, whatever its format: so what the examples add
here is no format. P²O can be ahead of GRPO where bare groups of four all fail, and some succeed under the prompt.
Writes ``benchmarks/results/smollm2-second-task.json``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from p2o.base.markdown import table
from p2o.core.samples import Sample
from p2o.core.templates import apply_template
from p2o.data import load_samples
from p2o.generation.local import ModelSource, load_policy
from p2o.generation.policies import Policy
from p2o.generation.settings import GenerationSettings

RESULT = Path(__file__).parent / "results" / "smollm2-second-task.json"
TASKS = {
    "letter_counting": "min_words=2&max_words=3",
    "count_bits": "max_n=31",
    "leg_counting": "min_animals=1&max_animals=2&max_instances=3",
    "spell_backward": "min_word_len=3&max_word_len=4",
    "gcd": "min_numbers=2&max_numbers=2&min_value=1&max_value=20",
    "chain_sum": "min_terms=3&max_terms=3&min_digits=1&max_digits=1",
    "simple_equations": "min_terms=2&max_terms=2&min_value=1&max_value=9",
    "products": "min_terms=2&max_terms=2&min_digits=1&max_digits=1",
}
"""Generator of reasoning-gym → its options."""
STEPS = (
    ("2 dogs", "2 dogs: 2 x 4 = 8 legs. Total: 8"),
    ("1 ant", "1 ant: 1 x 6 = 6 legs. Total: 6"),
    ("3 chickens", "3 chickens: 3 x 2 = 6 legs. Total: 6"),
    ("2 spiders, 1 cow", "2 spiders: 2 x 8 = 16 legs. 1 cow: 1 x 4 = 4 legs. Total: 16 + 4 = 20"),
    ("1 crab, 3 cats", "1 crab: 1 x 10 = 10 legs. 3 cats: 3 x 4 = 12 legs. Total: 10 + 12 = 22"),
)
WORKED = {
    "leg_counting": [f"Now, how many legs are there in total if you have {asked}?\n{steps}" for asked, steps in STEPS],
    "chain_sum": ["4 + 3 + 9 =\n4 + 3 = 7, 7 + 9 = 16", "8 - 2 + 5 =\n8 - 2 = 6, 6 + 5 = 11"],
}
"""Examples that show a procedure, step by step."""
QUESTIONS, DRAWS, SHOTS, TOKENS = 16, 4, 3, 48


def is_in(answer: str, text: str) -> bool:
    """Whether a text holds the answer as a word or number of its own."""
    return re.search(rf"(?<![\w.-]){re.escape(answer)}(?!\w|\.\d)", text) is not None


def solved(policy: Policy, template: str, samples: list[Sample]) -> list[int]:
    """Right ones of the DRAWS rollouts of each sample."""
    prompts = [apply_template(template, sample.messages) for sample in samples for _ in range(DRAWS)]
    texts = [completion.text for completion in policy.complete(prompts, 0.7)]
    right = [is_in(str(samples[n // DRAWS].answer), text) for n, text in enumerate(texts)]
    return [sum(right[n : n + DRAWS]) for n in range(0, len(right), DRAWS)]


def measure(policy: Policy, task: str) -> dict[str, Any]:
    """One task's figures."""
    samples = load_samples(f"reasoning_gym:{task}?{TASKS[task]}&size={QUESTIONS + SHOTS}&seed=5")
    shown, asked = samples[:SHOTS], samples[SHOTS:]
    examples = "\n\n".join(f"{sample.question}\n{sample.answer}" for sample in shown)
    bare = solved(policy, "", asked)
    templated = solved(policy, f"Answer as in these examples:\n{examples}", asked)
    worked = WORKED.get(task)
    steps = worked and solved(policy, "\n\n".join(["Answer as in these examples.", *worked]), asked)
    rollouts = len(asked) * DRAWS
    return {
        "task": task,
        "bare": sum(bare) / rollouts,
        "templated": sum(templated) / rollouts,
        "worked": sum(steps) / rollouts if steps else None,
        "all_failed": sum(n == 0 for n in bare) / len(asked),
        "rescued": sum(b == 0 < t for b, t in zip(bare, templated, strict=True)) / len(asked),
    }


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    args = parser.parse_args()
    policy = load_policy(ModelSource("builtin:smollm2"), GenerationSettings(TOKENS, batch_size=32))
    found = {row["task"]: row for row in json.loads(RESULT.read_text())} if RESULT.exists() else {}
    for task in args.tasks.split(","):
        found[task] = measure(policy, task)
        print(found[task], flush=True)
    rows = list(found.values())
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    names = [
        "task",
        "bare",
        "under three examples",
        "under worked steps",
        "groups that all failed bare",
        "rescued, of all groups",
    ]
    cells = [
        [r["task"], *(_share(r.get(k)) for k in ("bare", "templated", "worked", "all_failed", "rescued"))] for r in rows
    ]
    print(table(names, cells))


if __name__ == "__main__":
    main()
